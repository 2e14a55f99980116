"""A post's body becomes a title and a text: the first line, and what follows it.

A body of one line has no text (NULL); one that merely ends its line has an empty one. So
`title` and `text` together always say what `body` said, and either can be made from the other.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

posts = sa.table("posts", sa.column("id"), sa.column("body"), sa.column("title"), sa.column("text"))


def upgrade() -> None:
    """Split every body at its first line break."""
    with op.batch_alter_table("posts", recreate="always") as table:
        table.add_column(sa.Column("title", sa.Text), insert_after="body")
        table.add_column(sa.Column("text", sa.Text), insert_after="title")
    connection = op.get_bind()
    for row in connection.execute(sa.select(posts.c.id, posts.c.body)).all():
        title, line_break, text = row.body.partition("\n")
        values = {"title": title, "text": text if line_break else None}
        connection.execute(sa.update(posts).where(posts.c.id == row.id).values(values))
    with op.batch_alter_table("posts") as table:
        table.alter_column("title", existing_type=sa.Text, nullable=False)
        table.drop_column("body")


def downgrade() -> None:
    """Join every title and text into the body they came from, or would have come from."""
    with op.batch_alter_table("posts", recreate="always") as table:
        table.add_column(sa.Column("body", sa.Text), insert_after="account_id")
    connection = op.get_bind()
    for row in connection.execute(sa.select(posts.c.id, posts.c.title, posts.c.text)).all():
        body = row.title if row.text is None else f"{row.title}\n{row.text}"
        connection.execute(sa.update(posts).where(posts.c.id == row.id).values(body=body))
    with op.batch_alter_table("posts") as table:
        table.alter_column("body", existing_type=sa.Text, nullable=False)
        table.drop_column("title")
        table.drop_column("text")
