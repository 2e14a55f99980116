"""Throw-away database servers: real ones, on a loopback port, gone with the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pymysql  # type: ignore[import-untyped]  # typed by a separate package
from psycopg import sql

from tests.farm.waiting import eventually

NUMBERS = count(1)
SECRET = "p@ss 'w\"ör\\d:/#?%$x;"


@dataclass(frozen=True)
class Login:
    """One database on a throw-away server, and the ordinary user who owns it."""

    scheme: str
    port: int
    user: str
    password: str
    name: str

    @property
    def url(self) -> str:
        """The URL, as an application would have it."""
        user = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"{self.scheme}://{user}@127.0.0.1:{self.port}/{quote(self.name, safe='')}"

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Execute statements as that user, each on its own; return the last one's rows."""
        connection: Any
        if self.scheme.startswith("postgres"):
            connection = psycopg.connect(
                host="127.0.0.1",
                port=self.port,
                user=self.user,
                password=self.password,
                dbname=self.name,
                autocommit=True,
            )
        else:
            connection = pymysql.connect(
                host="127.0.0.1",
                port=self.port,
                user=self.user,
                password=self.password.encode(),  # a text would be sent as Latin-1
                database=self.name,
                autocommit=True,
            )
        rows: list[tuple[Any, ...]] = []
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            if cursor.description:
                rows = [tuple(row) for row in cursor.fetchall()]
        return rows


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL 15."""

    port: int
    folder: Path

    def database(self, name: str = "shop", password: str = SECRET) -> Login:
        """Make a database and a user who owns it and nothing else."""
        number = next(NUMBERS)
        login = Login(
            "postgresql+psycopg", self.port, f"app {number}", password, f"{name} {number}"
        )
        with psycopg.connect(
            host=str(self.folder), port=self.port, user="admin", dbname="postgres", autocommit=True
        ) as admin:
            user, where = sql.Identifier(login.user), sql.Identifier(login.name)
            admin.execute(
                sql.SQL("create role {} login password {}").format(user, sql.Literal(password))
            )
            admin.execute(sql.SQL("create database {} owner {}").format(where, user))
        return login


@dataclass(frozen=True)
class MariaDBServer:
    """A running MariaDB."""

    port: int
    socket: Path

    def database(self, name: str = "shop", password: str = SECRET) -> Login:
        """Make a database and a user who may do everything in it and nothing elsewhere."""
        number = next(NUMBERS)
        login = Login("mysql+pymysql", self.port, f"app {number}", password, f"{name} {number}")
        with (
            pymysql.connect(unix_socket=str(self.socket), user="root") as admin,
            admin.cursor() as cursor,
        ):
            where = "`" + login.name.replace("`", "``") + "`"
            cursor.execute(f"create database {where} character set utf8mb4")
            cursor.execute("create user %s@'%%' identified by %s", (login.user, password))
            cursor.execute(f"grant all on {where.replace('%', '%%')}.* to %s@'%%'", (login.user,))
        return login

    def execute(self, statement: str) -> None:
        """Execute a statement as the server's root."""
        with (
            pymysql.connect(unix_socket=str(self.socket), user="root") as admin,
            admin.cursor() as cursor,
        ):
            cursor.execute(statement)


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """Start PostgreSQL for as long as the block lasts."""
    binaries = Path("/usr/lib/postgresql/15/bin")
    with _folder() as folder:
        data = folder / "data"
        _run(
            folder,
            binaries / "initdb",
            *("--auth-local=trust", "--auth-host=scram-sha-256", "--username=admin"),
            *("--encoding=UTF8", "--no-locale", "--no-sync", "-D", data),
        )
        port = _free_port()
        command = [binaries / "postgres", "-F", "-D", data, "-p", port]
        with _running(folder, *command, "-h", "127.0.0.1", "-k", folder):
            admin = f"host={folder} port={port} user=admin dbname=postgres"
            eventually(
                lambda: psycopg.connect(admin), failing=psycopg.OperationalError, within=30
            ).close()
            yield PostgresServer(port, folder)


@contextmanager
def mariadb() -> Iterator[MariaDBServer]:
    """Start MariaDB for as long as the block lasts."""
    server = shutil.which("mariadbd", path="/usr/sbin:/usr/bin") or "mariadbd"
    with _folder() as folder:
        data = folder / "data"
        _run(
            folder,
            *("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )
        port, sock = _free_port(), folder / "sock"
        options = [f"--datadir={data}", f"--port={port}", f"--socket={sock}", "--skip-name-resolve"]
        options += ["--bind-address=127.0.0.1", f"--pid-file={folder / 'pid'}"]
        options += ["--innodb-flush-log-at-trx-commit=0"]
        with _running(folder, server, "--no-defaults", *options):
            eventually(lambda: _answers(sock), failing=OSError, within=60)
            yield MariaDBServer(port, sock)


def _unprivileged() -> Mapping[str, Any]:
    """Return who runs a server: both refuse to be root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dk-db-"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path) -> Mapping[str, str]:
    """Return what a server is told: /tmp is not everybody's on every machine, `folder` is its."""
    return {"PATH": os.environ["PATH"] + ":/usr/sbin", "TMPDIR": str(folder)}


def _run(folder: Path, *command: Any) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        cwd="/",
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
        **_unprivileged(),
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _running(folder: Path, *command: Any) -> Iterator[None]:
    with (
        (folder / "log").open("wb") as output,
        subprocess.Popen(
            [str(word) for word in command],
            cwd="/",
            env=_environment(folder),
            stdout=output,
            stderr=output,
            **_unprivileged(),
        ) as server,
    ):
        try:
            yield
        finally:
            server.terminate()
            server.wait(30)


def _answers(path: Path) -> bool:
    """Return whether somebody listens; a failed connection of PyMySQL would leak its socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
