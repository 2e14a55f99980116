"""PostgreSQL: its own tools, of the server's own major version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from posixpath import dirname, join
from typing import ClassVar

from deploykit.databases import base
from deploykit.databases.postgres_scripts import DUMP, INSPECT, PSQL, RESTORE, SCHEMA, VERIFY
from deploykit.databases.url import DatabaseUrl, Place, parse
from deploykit.layout import Layout
from deploykit.secrets import Secret
from deploykit.shell import fill

__all__ = ["Postgres", "ResolvedPostgres"]

SCHEMES = ("postgres", "postgresql")
PORT = 5432
# What drivers call it in a URL, and libpq in the environment.
OPTIONS = {
    "sslmode": "PGSSLMODE",
    "ssl": "PGSSLMODE",  # asyncpg
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "options": "PGOPTIONS",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
}


@dataclass(frozen=True)
class Postgres:
    """
    A PostgreSQL database.

    Args:
        source: its URL, better as a `Secret`: `postgres://`, `postgresql://`, with any driver
            (`+asyncpg`, `+psycopg`); `?host=/run/postgresql` means a unix socket.
    """

    source: str | Secret | base.Parts

    def __post_init__(self) -> None:
        if isinstance(self.source, str):
            object.__setattr__(self, "source", Secret.literal(self.source))
        if isinstance(self.source, Secret) and self.source.value:
            _parse(self.source.value)

    @classmethod
    def from_parts(
        cls,
        *,
        host: str | Secret = "",
        port: int | str | Secret = "",
        user: str | Secret,
        password: str | Secret,
        name: str | Secret,
    ) -> Postgres:
        """Return the database that separate variables describe; no host is the unix socket."""
        return cls(base.parts(host, port, user, password, name))

    def resolve(self, read: base.ReadSecret, layout: Layout, host: str) -> ResolvedPostgres:
        """See `Database.resolve`."""
        del layout
        url = self._url(read)
        return ResolvedPostgres(url.place(host, PORT), _environment(url))

    def environment(self, read: base.ReadSecret, layout: Layout) -> dict[str, str]:
        """See `Database.environment`."""
        del layout
        return base.reading(_source(self), read, self._url(read))

    def _url(self, read: base.ReadSecret) -> DatabaseUrl:
        return base.read(_source(self), read, _parse, "postgresql")


@dataclass(frozen=True)
class ResolvedPostgres:
    """See `Resolved`. Passwords go by PGPASSWORD: only the user's own processes can read that."""

    place: Place
    env: Mapping[str, str] = field(repr=False)
    engine: ClassVar[str] = "PostgreSQL"
    suffix: ClassVar[str] = ".dump"
    transactional: ClassVar[bool] = True

    def sql(self, query: str) -> str:
        """See `Resolved.sql`."""
        return PSQL + fill('"$psql" -XAtq -v ON_ERROR_STOP=1 -c {}\n', query)

    def table(self, name: str, schema: str | None) -> str:
        """See `Resolved.table`."""
        return ".".join(_identifier(part) for part in (schema, name) if part)

    def exists(self, name: str, schema: str | None) -> str:
        """See `Resolved.exists`."""
        return f"select 1 where to_regclass({_literal(self.table(name, schema))}) is not null"

    def schema(self, version_table: str) -> str:
        """See `Resolved.schema`."""
        return SCHEMA.replace(":version_table", _literal(version_table))

    def writes(self) -> str:
        """See `Resolved.writes`. Written rows, also such as were rolled back."""
        return (
            "select tup_inserted + tup_updated + tup_deleted from pg_stat_database "
            "where datname = current_database()"
        )

    def ready(self) -> str:
        """See `Resolved.ready`."""
        return self.sql("select 1") + "[ $? = 0 ] || exit 11\n"

    def inspect(self) -> str:
        """See `Resolved.inspect`."""
        return PSQL + INSPECT

    def dump(self, tool: str, path: str) -> str:
        """See `Resolved.dump`. Other sessions go on; schema changes wait."""
        return fill(DUMP, tool=tool, path=path)

    def verify(self, tool: str, path: str) -> str:
        """See `Resolved.verify`. gzip notices every flipped bit; zstd and lz4 there do not."""
        return fill(VERIFY, tool=join(dirname(tool), "pg_restore"), path=path)

    def restore(self, tool: str, path: str) -> str:
        """See `Resolved.restore`. All objects are dropped and made anew in one transaction."""
        folder = dirname(tool)
        return PSQL + fill(RESTORE, folder=folder, tool=join(folder, "pg_restore"), path=path)

    def why(self, code: int, said: str) -> tuple[str, str]:
        """See `Resolved.why`."""
        major = said.strip()
        reasons = {
            10: ("psql is missing on the host", "as root there: apt-get install postgresql-client"),
            12: (
                f"the server is PostgreSQL {major}, and there is no pg_dump {major} on the host",
                f"as root there: apt-get install postgresql-client-{major}",
            ),
        }
        return reasons.get(code, ("the database cannot be reached from the host", ""))


def _source(database: Postgres) -> Secret | base.Parts:
    """Return the source, which is no text since `__post_init__`."""
    return Secret.literal(database.source) if isinstance(database.source, str) else database.source


_parse = partial(parse, schemes=SCHEMES, owner="Postgres")


def _environment(url: DatabaseUrl) -> dict[str, str]:
    env = {
        "PGHOST": ",".join(url.hosts),
        "PGPORT": str(url.port or ""),
        "PGUSER": url.user,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.name,
        "PGCONNECT_TIMEOUT": "10",
        "PGCLIENTENCODING": "UTF8",
        "PGAPPNAME": "deploykit",
    }
    for option, name in OPTIONS.items():
        value = url.options.get(option, "")
        if value:
            env[name] = {"true": "require", "false": "disable"}.get(value.lower(), value)
    return {name: value for name, value in env.items() if value}


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
