"""What a migration would change, and all that undoing it needs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BASE", "MigratePlan"]

BASE = "base"  # what Alembic calls a database without a revision


@dataclass(frozen=True)
class MigratePlan:
    """
    Which revisions will be run, and what a rollback does about them.

    Args:
        engine: PostgreSQL, MariaDB or SQLite.
        database: which one, for people.
        before: the present revision; empty at base, several separated by spaces.
        after: the head.
        pending: id and message of each revision that will be run, in order.
        rung: how far a rollback goes.
        way: what it does about the schema: `code`, `keep`, `downgrade` or `restore`.
        loses: what that would lose, in words.
        folder: the ini file's, in the release on the host.
        words: the command before `upgrade` or `downgrade`.
        schema: digest of the schema as it is now.
        marker: a file on the host that says that the upgrade began.
        backup: the dump that `restore` restores; empty otherwise.
        tool: that made it.
        notes: what a person should know.
    """

    engine: str
    database: str
    before: str
    after: str
    pending: tuple[str, ...]
    rung: int
    way: str
    loses: str
    folder: str
    words: tuple[str, ...]
    schema: str = ""
    marker: str = ""
    backup: str = ""
    tool: str = ""
    notes: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the pending revisions' ids."""
        return tuple(line.split(" ", 1)[0] for line in self.pending)

    @property
    def shown(self) -> str:
        """Return the command's words, for people."""
        return " ".join(self.words)

    @property
    def counted(self) -> str:
        """Return the file on the host that holds the counter of written rows."""
        return f"{self.marker}.rows"

    def describe(self) -> tuple[str, ...]:
        """Return the lines that `deploykit plan` prints."""
        where = f"{self.engine} {self.database}"
        if not self.pending:
            return (f"{where} is at {self.after or BASE}: no migration is pending",)
        ways = {"keep": "the schema stays", "downgrade": "downgrade", "restore": "backup restored"}
        return (
            f"{where}: {self.before or BASE} → {self.after}, {len(self.pending)} pending",
            *(f"  {line}" for line in self.pending),
            f"rollback: rung {self.rung}, {ways[self.way]}; loses {self.loses}",
            *self.notes,
        )
