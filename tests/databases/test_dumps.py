"""Dumps of real databases: made, read back, and never believed when damaged."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploykit.databases import MariaDB, Postgres, SQLite, asking
from deploykit.databases.base import Resolved
from deploykit.errors import ConfigurationError
from deploykit.secrets import Secret
from deploykit.shell import fill
from tests.databases.servers import SECRET, MariaDBServer, PostgresServer
from tests.stages.harness import Bench

pytest_plugins = ["tests.databases.fixtures"]

ROWS = "select count(*) from users"


@dataclass
class Case:
    """A database with tables of every awkward kind, and what runs scripts on it."""

    resolved: Resolved
    execute: Callable[..., list[tuple[Any, ...]]]
    bench: Bench

    def run(self, script: str) -> int:
        """Run a script of the database, as a command would; print what it says of failures."""
        done = self.bench.session.query(f"set -e\n{script}", env=self.resolved.env, check=False)
        print(done.errors)
        return done.exit_code

    def dumped(self) -> tuple[str, Path]:
        """Make a dump; return its tool and where it is."""
        tool = asking.inspect(self.bench.planning().host, self.resolved).tool
        path = self.bench.root / f"a dump's{self.resolved.suffix}"
        assert self.run(self.resolved.dump(tool, str(path))) == 0
        return tool, path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """This machine as a host."""
    return Bench(tmp_path / "ro ot's")


@pytest.fixture
def on_postgres(postgres_server: PostgresServer, bench: Bench) -> Case:
    """Tables, a view, a type, a function, a sequence, another schema, a large object."""
    login = postgres_server.database(name="sh\"op's %d")
    login.execute(
        "create type mood as enum ('fine', 'so so')",
        'create table users (id serial primary key, name text not null, "mo od" mood)',
        "insert into users (name) select md5(i::text) from generate_series(1, 3000) i",
        "create table posts (id serial primary key, author int references users (id))",
        "insert into posts (author) values (1), (2)",
        "create view names as select name from users",
        "create function answer() returns int language sql as 'select 42'",
        'create schema "other one"',
        'create table "other one".notes (n numeric default 1.5)',
        "select lo_from_bytea(0, 'large')",
        "create extension if not exists pgcrypto",
    )
    resolved = Postgres(login.url).resolve(bench.secret, bench.layout, bench.host)
    return Case(resolved, login.execute, bench)


@pytest.fixture
def on_mariadb(mariadb_server: MariaDBServer, bench: Bench) -> Case:
    """Tables, a view, a procedure, a trigger, an event."""
    login = mariadb_server.database(name="sh`op d")
    login.execute(
        "create table users (id int auto_increment primary key, name varchar(50), raw blob)",
        "insert into users (name, raw) select md5(seq), unhex('00ff27') from seq_1_to_3000",
        "create table posts (id int auto_increment primary key, author int, "
        "foreign key (author) references users (id))",
        "insert into posts (author) values (1), (2)",
        "create view names as select name from users",
        "create procedure answer() select 42",
        "create trigger hush before insert on posts for each row set new.author = 1",
        "create event later on schedule every 1 year do select 1",
    )
    resolved = MariaDB(login.url).resolve(bench.secret, bench.layout, bench.host)
    return Case(resolved, login.execute, bench)


@pytest.fixture
def on_sqlite(bench: Bench) -> Case:
    """Tables, a view and a trigger, in WAL mode."""
    file = bench.root / "d b's.sqlite3"

    def execute(*statements: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            return rows

    execute(
        "pragma journal_mode = wal",
        "create table users (id integer primary key, name text)",
        "insert into users (name) with recursive n (i) as (select 1 union all select i + 1 from n "
        "where i < 3000) select hex(randomblob(16)) from n",
        "create table posts (id integer primary key, author references users (id))",
        "create view names as select name from users",
        "create trigger hush after insert on posts begin select 1; end",
    )
    resolved = SQLite("d b's.sqlite3").resolve(bench.secret, bench.layout, bench.host)
    return Case(resolved, execute, bench)


@pytest.fixture
def without_sqlite3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out `sqlite3` of PATH: every other program is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in (Path("/usr/bin"), Path("/bin")):
        for program in place.iterdir():
            link = folder / program.name
            if program.name != "sqlite3" and not link.exists():
                link.symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture(params=["postgres", "mariadb", "sqlite", "sqlite by python"])
def case(request: pytest.FixtureRequest) -> Case:
    """A database of each engine, and SQLite by either tool."""
    engine, _, python = request.param.partition(" by ")
    if python:
        request.getfixturevalue("without_sqlite3")
    found: Case = request.getfixturevalue(f"on_{engine}")
    return found


def test_dump_and_restore(case: Case) -> None:
    """A restore brings back schema and rows, and removes what came after the dump."""
    host = case.bench.planning().host
    before = asking.fingerprint(host, case.resolved, "alembic_version")
    rows = case.execute("select id, name from users order by id")
    tool, path = case.dumped()
    assert case.run(case.resolved.verify(tool, str(path))) == 0
    case.execute(
        "delete from posts",
        "delete from users where id < 2000",
        "drop view names",
        "create table new_one (id int primary key)",
        "alter table users add column more int",
    )
    assert asking.fingerprint(host, case.resolved, "alembic_version") != before
    assert case.run(case.resolved.restore(tool, str(path))) == 0
    assert case.execute("select id, name from users order by id") == rows
    assert asking.fingerprint(host, case.resolved, "alembic_version") == before


def test_restore_is_repeatable(case: Case) -> None:
    """What is restored twice is what is restored once."""
    tool, path = case.dumped()
    for _ in range(2):
        assert case.run(case.resolved.restore(tool, str(path))) == 0
    assert case.execute(ROWS)[0][0] == 3000


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_dump_is_noticed(case: Case, damage: str) -> None:
    """A dump with its end missing, a bit turned, or nothing in it does not verify."""
    tool, path = case.dumped()
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:-200] if case.resolved.engine != "SQLite" else whole[:-4096],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 8]) + whole[middle + 1 :],
        "empty": b"",
    }[damage]
    path.write_bytes(damaged)
    code = case.run(case.resolved.verify(tool, str(path)))
    if (case.resolved.engine, damage) == ("SQLite", "flipped"):
        # SQLite has no checksums: a turned bit inside a value is a value. That is what the
        # manifest's sha256, taken of what was verified, is for.
        assert code in (0, 42)
    elif (case.resolved.engine, damage) == ("SQLite", "empty"):
        assert code == 0  # an empty file is an empty database; Backup refuses it by its size
    else:
        assert code == 42


def test_dump_that_breaks_off(case: Case) -> None:
    """A tool that fails after writing half of a dump is noticed."""
    tool = asking.inspect(case.bench.planning().host, case.resolved).tool
    broken = case.bench.root / Path(tool).name
    broken.write_text(
        fill('#!/bin/sh\n{} "$@" | head -c 300\nexit 3\n', tool)
        if "python" not in tool and "sqlite3" not in tool
        else "#!/bin/sh\nexit 3\n"
    )
    broken.chmod(0o755)
    path = case.bench.root / "dump"
    assert case.run(case.resolved.dump(str(broken), str(path))) == 41


@contextmanager
def watching(secret: str) -> Iterator[list[str]]:
    """Look at every process's command line as long as the block lasts; collect *secret*'s."""
    seen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue  # it has ended
                if secret in line:
                    seen.append(line)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("engine", ["postgres", "mariadb"])
def test_no_password_in_any_process_list(engine: str, request: pytest.FixtureRequest) -> None:
    """While a database is dumped, read and restored, no command line has its password."""
    case: Case = request.getfixturevalue(f"on_{engine}")
    with watching(SECRET) as seen:
        for _ in range(3):
            tool, path = case.dumped()
        case.run(case.resolved.restore(tool, str(path)))
        asking.rows(case.bench.planning().host, case.resolved, ROWS)
    assert seen == []


def test_watching_sees() -> None:
    """The watch over process lists does see a password that is there."""
    with (
        watching("a-password-in-argv") as seen,
        subprocess.Popen(
            ["sh", "-c", "read line", "a-password-in-argv"], stdin=subprocess.PIPE
        ) as process,
    ):
        while not seen and process.poll() is None:
            pass
        process.communicate(b"\n")
    assert seen


def test_another_major_is_refused(on_postgres: Case) -> None:
    """Without a pg_dump of the server's major nothing is dumped, and the package is named."""
    script = on_postgres.resolved.inspect().replace(
        "current_setting('server_version_num')", "99001"
    )
    done = on_postgres.bench.session.query(script, env=on_postgres.resolved.env, check=False)
    assert done.exit_code == 12
    what, then = on_postgres.resolved.why(12, done.output)
    assert "PostgreSQL 9" in what
    assert "apt-get install postgresql-client-9" in then


def test_events_without_the_right(mariadb_server: MariaDBServer, bench: Bench) -> None:
    """A user who may not see events is refused, for the dump would lack them."""
    login = mariadb_server.database()
    mariadb_server.execute(f"revoke event on `{login.name}`.* from '{login.user}'@'%'")
    resolved = MariaDB(login.url).resolve(bench.secret, bench.layout, bench.host)
    with pytest.raises(ConfigurationError, match="events") as caught:
        asking.inspect(bench.planning().host, resolved)
    assert "GRANT" in caught.value.then


def test_tables_without_snapshots_are_named(on_mariadb: Case) -> None:
    """A table that takes no part in a snapshot is named in the notes."""
    on_mariadb.execute("create table old_one (id int) engine = MyISAM")
    found = asking.inspect(on_mariadb.bench.planning().host, on_mariadb.resolved)
    assert any("old_one" in note for note in found.notes)


def test_absent_sqlite_file(bench: Bench) -> None:
    """A file that is not there yet is no error, is not made, and has no rows."""
    resolved = SQLite("not/yet.db").resolve(bench.secret, bench.layout, bench.host)
    host = bench.planning().host
    assert asking.inspect(host, resolved).absent
    assert asking.rows(host, resolved, "select 1") == ()
    assert not (bench.root / "not").exists()


def test_not_a_database(bench: Bench) -> None:
    """A file that is no SQLite database is refused before it is dumped."""
    (bench.root / "x.db").write_text("something else, long enough to have a header" * 9)
    resolved = SQLite("x.db").resolve(bench.secret, bench.layout, bench.host)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        asking.inspect(bench.planning().host, resolved)


def test_names_stay_names(on_postgres: Case) -> None:
    """Names that hold quotes are compared as they are."""
    resolved, host = on_postgres.resolved, on_postgres.bench.planning().host
    on_postgres.execute('create table "it\'s ""x""" (version_num text)')
    assert asking.rows(host, resolved, resolved.exists('it\'s "x"', None)) == ("1",)
    assert asking.rows(host, resolved, resolved.exists("absent", None)) == ()
    assert asking.revisions(host, resolved, 'it\'s "x"', "public") == ()


def test_secret_from_parts(postgres_server: PostgresServer, bench: Bench) -> None:
    """A database in separate variables is reached with a password of every awkward character."""
    login = postgres_server.database()
    bench.secrets = {"PASSWORD": login.password}
    database = Postgres.from_parts(
        host="127.0.0.1",
        port=login.port,
        user=login.user,
        password=Secret.from_env("PASSWORD"),
        name=login.name,
    )
    resolved = database.resolve(bench.secret, bench.layout, bench.host)
    assert asking.rows(bench.planning().host, resolved, "select current_user") == (login.user,)
