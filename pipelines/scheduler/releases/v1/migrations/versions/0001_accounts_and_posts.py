"""Accounts, and the posts that wait for their hour."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(80), nullable=False, unique=True),
    )
    op.create_table(
        "posts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("account_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("networks", sa.String(200), nullable=False),
        sa.Column("due_at", sa.DateTime, nullable=False),
        sa.Column("published_at", sa.DateTime),
    )


def downgrade() -> None:
    """Drop both tables: before this revision there was nothing."""
    op.drop_table("posts")
    op.drop_table("accounts")
