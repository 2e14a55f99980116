"""Small projects with Alembic migrations, written for one test."""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import indent

INI = """\
[alembic]
script_location = %(here)s/migrations
path_separator = os
"""

ENV = """\
import os
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    context.configure(connection=connection, **{options})
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""

REVISION = '''\
"""{message}

Revision ID: {id}
"""

import sqlalchemy as sa
from alembic import op

revision = {id!r}
down_revision = {down!r}


def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''


def revision(
    id: str,  # noqa: A002  # Alembic's word
    down: str | tuple[str, ...] | None,
    message: str,
    upgrade: str = "pass",
    downgrade: str = "pass",
) -> str:
    """Return the text of a revision file."""
    return REVISION.format(
        id=id,
        down=down,
        message=message,
        upgrade=indent(upgrade, "    "),
        downgrade=indent(downgrade, "    "),
    )


USERS = revision(
    "r1",
    None,
    "make users",
    'op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), '
    'sa.Column("name", sa.String(50)))',
    'op.drop_table("users")',
)
NICKS = revision(
    "r2",
    "r1",
    "give users nicknames",
    'op.add_column("users", sa.Column("nick", sa.String(50)))',
    'with op.batch_alter_table("users") as users:\n    users.drop_column("nick")',
)
BROKEN = revision(
    "r3",
    "r2",
    "break halfway",
    'op.create_table("half", sa.Column("id", sa.Integer, primary_key=True))\n'
    'op.execute("select broken from nowhere")',
    'op.drop_table("half")',
)
ONE_WAY = revision("r2", "r1", "forget names", 'op.execute("update users set name = null")')


def project(folder: Path, *revisions: str, options: dict[str, object] | None = None) -> Path:
    """Write a project with these revisions into *folder*, and return it."""
    versions = folder / "migrations/versions"
    versions.mkdir(parents=True)
    (folder / "alembic.ini").write_text(INI)
    (folder / "migrations/env.py").write_text(ENV.replace("{options}", repr(options or {})))
    for number, text in enumerate(revisions):
        (versions / f"{number:04}.py").write_text(text)
    return folder


def install(source: Path, release: str) -> None:
    """Put *source* where Transfer would have put it."""
    shutil.copytree(source, release)
