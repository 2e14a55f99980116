"""SQLite: one file on the host, by `sqlite3` if that is there, else by the host's `python3`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from posixpath import basename, dirname
from typing import ClassVar
from urllib.parse import quote

from deploykit.databases import base
from deploykit.databases.sqlite_scripts import (
    ASK,
    DUMP,
    INSPECT,
    PYTHON,
    READY,
    RESTORE,
    SCHEMA,
    VERIFY,
)
from deploykit.databases.url import DatabaseUrl, Place, parse
from deploykit.errors import ConfigurationError
from deploykit.layout import Layout
from deploykit.secrets import Secret
from deploykit.shell import fill

__all__ = ["ResolvedSQLite", "SQLite"]

SCHEMES = ("sqlite",)


@dataclass(frozen=True)
class SQLite:
    """
    An SQLite database on the host.

    The deploy user needs to read its file, and to write the file and its folder for migrations.

    Args:
        source: the file's path, relative to the pipeline's root; or a URL (`sqlite:///rel`,
            `sqlite:////abs`, with any driver), better as a `Secret`. A relative URL is relative
            to the root too, and migrations are given it in full.
    """

    source: str | Secret

    def __post_init__(self) -> None:
        if isinstance(self.source, str) and "://" in self.source:
            object.__setattr__(self, "source", Secret.literal(self.source))
        if isinstance(self.source, Secret):
            if self.source.value:
                _file(_parse(self.source.value))
        else:
            _file(DatabaseUrl("sqlite", name=self.source))

    def resolve(self, read: base.ReadSecret, layout: Layout, host: str) -> ResolvedSQLite:
        """See `Database.resolve`."""
        return ResolvedSQLite(Place(host, 0, layout.under(_file(self._url(read)))))

    def environment(self, read: base.ReadSecret, layout: Layout) -> dict[str, str]:
        """See `Database.environment`."""
        url = self._url(read)
        scheme = f"sqlite+{url.driver}" if url.driver else "sqlite"
        name = base.variable(self.source) if isinstance(self.source, Secret) else "DATABASE_URL"
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in url.options.items())
        # Only what would be misread is encoded: SQLAlchemy before 2.1 decodes nothing in a path.
        path = layout.under(_file(url)).replace("%", "%25").replace("?", "%3F")
        return {name: f"{scheme}:///{path}" + (f"?{query}" if query else "")}

    def _url(self, read: base.ReadSecret) -> DatabaseUrl:
        if isinstance(self.source, Secret):
            return _parse(read(self.source))
        return DatabaseUrl("sqlite", name=self.source)


@dataclass(frozen=True)
class ResolvedSQLite:
    """See `Resolved`."""

    place: Place
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    engine: ClassVar[str] = "SQLite"
    suffix: ClassVar[str] = ".sqlite3"
    transactional: ClassVar[bool] = False

    def sql(self, query: str) -> str:
        """See `Resolved.sql`. No rows where the file does not exist."""
        return fill(ASK, python=PYTHON, file=self.place.name, query=query)

    def table(self, name: str, schema: str | None) -> str:
        """See `Resolved.table`."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name) if part)

    def exists(self, name: str, schema: str | None) -> str:
        """See `Resolved.exists`."""
        del schema
        return f"select 1 from sqlite_master where type = 'table' and name = {_literal(name)}"  # noqa: S608  # quoted

    def schema(self, version_table: str) -> str:
        """See `Resolved.schema`."""
        return SCHEMA.replace(":version_table", _literal(version_table))

    def writes(self) -> str:
        """See `Resolved.writes`. SQLite counts nothing."""
        return ""

    def ready(self) -> str:
        """See `Resolved.ready`."""
        return fill(READY, file=self.place.name)

    def inspect(self) -> str:
        """See `Resolved.inspect`."""
        return fill(INSPECT, python=PYTHON, file=self.place.name)

    def dump(self, tool: str, path: str) -> str:
        """See `Resolved.dump`. In one step: one in many never ends while others write."""
        script = DUMP["python" if _is_python(tool) else "sqlite3"]
        into = f"vacuum into {_literal(path)}"
        return fill(script, tool=tool, python=PYTHON, file=self.place.name, path=path, into=into)

    def verify(self, tool: str, path: str) -> str:
        """See `Resolved.verify`. SQLite reads every page of the copy."""
        script = VERIFY["python" if _is_python(tool) else "sqlite3"]
        return fill(script, tool=tool, python=PYTHON, path=path)

    def restore(self, tool: str, path: str) -> str:
        """See `Resolved.restore`. Page by page into the same file, under SQLite's own locks."""
        script = RESTORE["python" if _is_python(tool) else "sqlite3"]
        dot = f".restore {_dot_word(path)}"
        return fill(script, tool=tool, python=PYTHON, file=self.place.name, path=path, dot=dot)

    def why(self, code: int, said: str) -> tuple[str, str]:
        """See `Resolved.why`."""
        del said
        file = self.place.name
        reasons = {
            10: (
                "neither sqlite3 nor python3 is on the host",
                "as root there: apt-get install sqlite3",
            ),
            13: (
                f"the deploy user may not read {file}",
                f"as root there: put the deploy user into the group of {file}, chmod g+r",
            ),
            14: (
                f"the deploy user may not write {file} and its folder, as a migration must",
                f"as root there: chmod g+rw {file} && chmod g+rwx {dirname(file)}",
            ),
        }
        return reasons.get(code, (f"{file} cannot be read as an SQLite database", ""))


_parse = partial(parse, schemes=SCHEMES, owner="SQLite")


def _file(url: DatabaseUrl) -> str:
    """Return the path in *url*: relative after three slashes, absolute after four."""
    path = url.name
    if url.hosts:
        raise ConfigurationError("an SQLite URL has three slashes for a relative path, four for /")
    if path in ("", "/", ":memory:") or path.endswith("/") or "\n" in path:
        raise ConfigurationError("SQLite(…) needs the path of a file on the host")
    return path


def _is_python(tool: str) -> bool:
    return basename(tool).startswith("python")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _dot_word(text: str) -> str:
    """Return *text* as one word of a dot-command."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
