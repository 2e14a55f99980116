"""What every engine offers: a value that says where a database is, and scripts that work on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from deploykit.databases.url import DatabaseUrl, Place
from deploykit.errors import ConfigurationError
from deploykit.layout import Layout
from deploykit.secrets import Secret

__all__ = ["Database", "Parts", "ReadSecret", "Resolved", "read", "reading", "variable"]

ReadSecret = Callable[[Secret], str]


class Resolved(Protocol):
    """
    A database whose secrets have been read: lives for a plan or an apply, and is never journalled.

    Scripts are POSIX shell; they need `env`, hold no password, and tell failures apart by exit
    codes. What they do to other sessions and to the schema is said at each.
    """

    @property
    def engine(self) -> str:
        """The engine's name, for people."""

    @property
    def place(self) -> Place:
        """Which database it is."""

    @property
    def env(self) -> Mapping[str, str]:
        """Variables for every script of this database."""

    @property
    def suffix(self) -> str:
        """How a dump's file name ends."""

    @property
    def transactional(self) -> bool:
        """Whether a failed migration leaves nothing behind, unless it is written otherwise."""

    def sql(self, query: str) -> str:
        """Return a script that prints the rows of *query*: one a line, of one column."""

    def table(self, name: str, schema: str | None) -> str:
        """Return the name of a table as it stands in SQL."""

    def exists(self, name: str, schema: str | None) -> str:
        """Return a query with one row if the table exists, and none otherwise."""

    def schema(self, version_table: str) -> str:
        """Return a query whose rows describe the whole schema but for *version_table*."""

    def writes(self) -> str:
        """Return a query for a counter of rows written; empty where the engine has none."""

    def ready(self) -> str:
        """
        Return a script that tells whether a migration can be run from this host.

        Exit codes as for `inspect`, and 14: a right to write is missing.
        """

    def inspect(self) -> str:
        """
        Return a script that looks for the tools and measures the database.

        It prints, a line each: the dump tool's path, its version, the server's version, the
        database's size in bytes; further lines are notes for people. Exit codes: 10 no client ·
        11 no connection (see stderr) · 12 no fitting dump tool, standard output says which ·
        13 a right is missing, standard output says which · 15 there is no database yet.
        """

    def dump(self, tool: str, path: str) -> str:
        """Return a script that writes a dump to *path*; exit code 41 if it is not complete."""

    def verify(self, tool: str, path: str) -> str:
        """Return a script that reads the whole dump at *path*; exit code 42 if it is damaged."""

    def restore(self, tool: str, path: str) -> str:
        """Return a script that makes the database what the dump at *path* says, whole or not."""

    def why(self, code: int, said: str) -> tuple[str, str]:
        """Say for an exit code of `inspect` what is wrong, and what to do about it."""


class Database(Protocol):
    """Says where a database is; holds no secret and does nothing by itself."""

    def resolve(self, read: ReadSecret, layout: Layout, host: str) -> Resolved:
        """
        Read its secrets.

        Args:
            read: returns a secret's value.
            layout: the folders on the host, for a path relative to the root.
            host: label of the host that connects, which "localhost" then means.

        Raises:
            ConfigurationError: the URL is none of this engine's; the message does not show it.
        """

    def environment(self, read: ReadSecret, layout: Layout) -> dict[str, str]:
        """Return the variables by which a migration finds it: the secret's, or DATABASE_URL."""


@dataclass(frozen=True)
class Parts:
    """A database given in separate variables, each a text or a secret. See `from_parts`."""

    host: str | Secret = ""
    port: str | Secret = ""
    user: str | Secret = ""
    password: Secret | None = None
    name: str | Secret = ""


def parts(
    host: str | Secret,
    port: int | str | Secret,
    user: str | Secret,
    password: str | Secret,
    name: str | Secret,
) -> Parts:
    """Return the parts with the password as a secret."""
    hidden = password if isinstance(password, Secret) else Secret.literal(password)
    return Parts(host, port if isinstance(port, Secret) else str(port or ""), user, hidden, name)


def read(
    source: Secret | Parts,
    secret: ReadSecret,
    parse: Callable[[str], DatabaseUrl],
    scheme: str,
) -> DatabaseUrl:
    """Return the URL that *source* holds, or the one that its parts make."""
    if isinstance(source, Secret):
        return parse(secret(source))

    def text(part: str | Secret | None) -> str:
        return secret(part) if isinstance(part, Secret) else part or ""

    port, host = text(source.port), text(source.host)
    if port and not port.isdigit():
        raise ConfigurationError("a database's port is a number")
    hosts = (host,) if host else ()
    password = text(source.password)
    return DatabaseUrl(
        scheme, "", text(source.user), password, hosts, int(port or 0), text(source.name)
    )


def variable(source: Secret | Parts) -> str:
    """Return the name by which the application knows the URL."""
    if isinstance(source, Secret) and source.source != "literal" and source.name:
        return source.name
    return "DATABASE_URL"


def reading(source: Secret | Parts, secret: ReadSecret, url: DatabaseUrl) -> dict[str, str]:
    """Return the variables of *source* as its owner named them, and the whole URL."""
    if isinstance(source, Secret):
        return {variable(source): secret(source)}
    named = {
        part.name: secret(part)
        for part in (source.host, source.port, source.user, source.password, source.name)
        if isinstance(part, Secret) and part.source != "literal" and part.name
    }
    return {"DATABASE_URL": url.text(), **named}
