"""Where a database's schema really is: its revision, and its shape."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.databases import asking
from deploykit.databases.base import Resolved
from deploykit.stage import Reader

__all__ = ["SchemaState"]


@dataclass(frozen=True)
class SchemaState:
    """
    Asks one database anew each time.

    Args:
        host: from where.
        database: which one.
        version_table: where Alembic notes the revision.
        schema: of that table.
    """

    host: Reader
    database: Resolved
    version_table: str
    schema: str | None

    def present(self) -> tuple[str, ...]:
        """Return the present revisions: usually one, none at base."""
        return asking.revisions(self.host, self.database, self.version_table, self.schema)

    def revision(self) -> str:
        """Return the present revision; empty at base, several separated by spaces."""
        return " ".join(self.present())

    def fingerprint(self) -> str:
        """Return a digest of the schema, the version table left out."""
        return asking.fingerprint(self.host, self.database, self.version_table)
