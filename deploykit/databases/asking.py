"""Puts a database's questions to a host."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from deploykit.command import Result
from deploykit.databases.base import Resolved
from deploykit.errors import ConfigurationError, StageFailed
from deploykit.stage import Reader

__all__ = ["Found", "fingerprint", "inspect", "ready", "revisions", "rows"]

ABSENT = 15  # exit code of `inspect`: there is no database yet


@dataclass(frozen=True)
class Found:
    """
    What `inspect` found.

    Args:
        absent: there is no database yet, and nothing else is known.
        tool: path of the tool that dumps.
        version: its version.
        server: the server's version.
        size: of the database, in bytes.
        notes: what a person should know.
    """

    absent: bool
    tool: str = ""
    version: str = ""
    server: str = ""
    size: int = 0
    notes: tuple[str, ...] = ()


def inspect(host: Reader, database: Resolved) -> Found:
    """
    Look for the tools on *host*, and measure the database.

    Raises:
        ConfigurationError: a tool or a right is missing, or the database cannot be reached.
    """
    result = host.query(database.inspect(), env=database.env, check=False)
    if result.exit_code == ABSENT:
        return Found(absent=True)
    if not result.ok:
        raise _unfit(database, result)
    tool, version, server, size, *notes = result.output.splitlines()
    return Found(False, tool, version, server, int(size), tuple(notes))


def ready(host: Reader, database: Resolved) -> None:
    """
    Make sure that a migration can be run from *host*.

    Raises:
        ConfigurationError: a tool or a right is missing, or the database cannot be reached.
    """
    result = host.query(database.ready(), env=database.env, check=False)
    if not result.ok:
        raise _unfit(database, result)


def rows(host: Reader, database: Resolved, query: str) -> tuple[str, ...]:
    """
    Return the rows of *query*, which has one column.

    Raises:
        StageFailed: no answer; the message carries what the tool said.
    """
    return _lines(host, database, database.sql(query))


def revisions(
    host: Reader, database: Resolved, version_table: str, schema: str | None
) -> tuple[str, ...]:
    """
    Return the revisions that Alembic has noted in the database; none if its table is not there.

    Raises:
        StageFailed: no answer; the message carries what the tool said.
    """
    there = database.sql(database.exists(version_table, schema))
    table = database.table(version_table, schema)
    noted = database.sql(f"select version_num from {table}")  # noqa: S608  # quoted by the engine
    both = f'there=$(\n{there}\n) || exit\n[ -z "$there" ] || {{\n{noted}\n}}\n'
    return tuple(sorted(_lines(host, database, both)))


def fingerprint(host: Reader, database: Resolved, version_table: str) -> str:
    """Return a digest of the schema: equal for equal tables, columns, indexes and constraints."""
    lines = rows(host, database, database.schema(version_table))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _unfit(database: Resolved, result: Result) -> ConfigurationError:
    what, then = database.why(result.exit_code, result.output)
    said = " ".join(result.errors.split())
    return ConfigurationError(
        f"{database.engine}, {database.place}: {what}" + (f": {said}" if said else ""),
        state="nothing was touched",
        then=then,
    )


def _lines(host: Reader, database: Resolved, script: str) -> tuple[str, ...]:
    result = host.query(script, env=database.env, check=False)
    if not result.ok:
        said = " ".join(result.errors.split())
        raise StageFailed(f"{database.engine}, {database.place}, does not answer: {said}")
    return tuple(result.output.splitlines())
