"""MariaDB and MySQL, by whichever of their tools the host has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from deploykit.databases import base
from deploykit.databases.mariadb_scripts import (
    ASK,
    CLIENT,
    DUMP,
    FUNCTION,
    INSPECT,
    RESTORE,
    SCHEMA,
    VERIFY,
)
from deploykit.databases.url import DatabaseUrl, Place, parse
from deploykit.layout import Layout
from deploykit.secrets import Secret
from deploykit.shell import fill

__all__ = ["MariaDB", "ResolvedMariaDB"]

SCHEMES = ("mariadb", "mysql")
PORT = 3306
# What drivers call it in a URL, and the tools as an option.
OPTIONS = {"ssl_ca": "--ssl-ca", "ssl_cert": "--ssl-cert", "ssl_key": "--ssl-key"}


@dataclass(frozen=True)
class MariaDB:
    """
    A MariaDB or MySQL database.

    Args:
        source: its URL, better as a `Secret`: `mysql://` or `mariadb://`, with any driver
            (`+pymysql`, `+aiomysql`); `?unix_socket=/run/mysqld/mysqld.sock` means a socket.
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
    ) -> MariaDB:
        """Return the database that separate variables describe; no host is the unix socket."""
        return cls(base.parts(host, port, user, password, name))

    def resolve(self, read: base.ReadSecret, layout: Layout, host: str) -> ResolvedMariaDB:
        """See `Database.resolve`."""
        del layout
        url = self._url(read)
        env = {"MYSQL_PWD": url.password} if url.password else {}
        return ResolvedMariaDB(url.place(host, PORT), env, _words(url))

    def environment(self, read: base.ReadSecret, layout: Layout) -> dict[str, str]:
        """See `Database.environment`."""
        del layout
        return base.reading(_source(self), read, self._url(read))

    def _url(self, read: base.ReadSecret) -> DatabaseUrl:
        return base.read(_source(self), read, _parse, "mysql")


@dataclass(frozen=True)
class ResolvedMariaDB:
    """See `Resolved`. Passwords go by MYSQL_PWD: only the user's own processes can read that."""

    place: Place
    env: Mapping[str, str] = field(repr=False)
    words: tuple[str, ...]
    engine: ClassVar[str] = "MariaDB"
    suffix: ClassVar[str] = ".sql.gz"
    transactional: ClassVar[bool] = False

    def sql(self, query: str) -> str:
        """See `Resolved.sql`."""
        return CLIENT + fill(ASK, words=self.words, query=query, name=self.place.name)

    def table(self, name: str, schema: str | None) -> str:
        """See `Resolved.table`."""
        return ".".join("`" + part.replace("`", "``") + "`" for part in (schema, name) if part)

    def exists(self, name: str, schema: str | None) -> str:
        """See `Resolved.exists`."""
        where = f"table_schema = {_literal(schema) if schema else 'database()'}"
        return (
            f"select 1 from information_schema.tables where {where} "  # noqa: S608  # quoted
            f"and table_name = {_literal(name)}"
        )

    def schema(self, version_table: str) -> str:
        """See `Resolved.schema`."""
        return SCHEMA.replace(":version_table", _literal(version_table))

    def writes(self) -> str:
        """See `Resolved.writes`. Counting has to be switched on by the server's root."""
        return ""

    def ready(self) -> str:
        """See `Resolved.ready`."""
        return self.sql("select 1") + "[ $? = 0 ] || exit 11\n"

    def inspect(self) -> str:
        """See `Resolved.inspect`."""
        return CLIENT + fill(FUNCTION + INSPECT, words=self.words, name=self.place.name)

    def dump(self, tool: str, path: str) -> str:
        """See `Resolved.dump`. One snapshot of all InnoDB tables, while other sessions go on."""
        return fill(DUMP, tool=tool, words=self.words, name=self.place.name, path=path)

    def verify(self, tool: str, path: str) -> str:
        """See `Resolved.verify`. gzip's checksum, and the line that the tool writes at its end."""
        del tool
        return fill(VERIFY, path=path)

    def restore(self, tool: str, path: str) -> str:
        """See `Resolved.restore`. Not in one transaction: what fails midway is not whole."""
        del tool
        return CLIENT + fill(FUNCTION + RESTORE, words=self.words, name=self.place.name, path=path)

    def why(self, code: int, said: str) -> tuple[str, str]:
        """See `Resolved.why`."""
        del said
        install = "as root there: apt-get install mariadb-client"
        reasons = {
            10: ("neither mariadb nor mysql is on the host", install),
            12: ("neither mariadb-dump nor mysqldump is on the host", install),
            13: (
                "the database's user may not read its events, so a dump would lack them",
                f"as the server's root: GRANT ALL ON {self.table(self.place.name, None)}.* TO it",
            ),
        }
        return reasons.get(code, ("the database cannot be reached from the host", ""))


def _source(database: MariaDB) -> Secret | base.Parts:
    """Return the source, which is no text since `__post_init__`."""
    return Secret.literal(database.source) if isinstance(database.source, str) else database.source


_parse = partial(parse, schemes=SCHEMES, owner="MariaDB")


def _words(url: DatabaseUrl) -> tuple[str, ...]:
    """Return the options of every tool; `--no-defaults`, lest ~/.my.cnf's password wins."""
    words = ["--no-defaults"] if url.password else []
    server = url.hosts[0] if url.hosts else ""
    if server.startswith(("/", "@")):
        words += [f"--socket={server}"]
    elif server:
        # To these tools "localhost" means the socket, to every driver of Python TCP.
        words += [f"--host={'127.0.0.1' if server == 'localhost' else server}", "--protocol=TCP"]
        words += [f"--port={url.port or PORT}"]
    if url.user:
        words += [f"--user={url.user}"]
    words += [f"{OPTIONS[key]}={value}" for key, value in url.options.items() if key in OPTIONS]
    return (*words, "--default-character-set=utf8mb4")


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
