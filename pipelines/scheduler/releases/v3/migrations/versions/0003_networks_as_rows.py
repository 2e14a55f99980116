"""A post's networks become rows of a table of their own, one for each, in their order."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

posts = sa.table("posts", sa.column("id"), sa.column("networks"))
post_networks = sa.table(
    "post_networks", sa.column("post_id"), sa.column("position"), sa.column("network")
)


def upgrade() -> None:
    """Make a row of every name between the commas."""
    op.create_table(
        "post_networks",
        sa.Column("post_id", sa.Integer, sa.ForeignKey("posts.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("network", sa.String(40), nullable=False),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(posts.c.id, posts.c.networks)).all():
        for position, network in enumerate(row.networks.split(",")):
            values = {"post_id": row.id, "position": position, "network": network}
            connection.execute(sa.insert(post_networks).values(values))
    with op.batch_alter_table("posts") as table:
        table.drop_column("networks")


def downgrade() -> None:
    """Put the names of every post between commas again."""
    with op.batch_alter_table("posts", recreate="always") as table:
        table.add_column(sa.Column("networks", sa.String(200)), insert_after="text")
    connection = op.get_bind()
    for post in connection.execute(sa.select(posts.c.id)).scalars().all():
        names = (
            sa.select(post_networks.c.network)
            .where(post_networks.c.post_id == post)
            .order_by(post_networks.c.position)
        )
        networks = ",".join(connection.execute(names).scalars())
        connection.execute(sa.update(posts).where(posts.c.id == post).values(networks=networks))
    with op.batch_alter_table("posts") as table:
        table.alter_column("networks", existing_type=sa.String(200), nullable=False)
    op.drop_table("post_networks")
