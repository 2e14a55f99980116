"""Migrations on real databases: forward, back, and honest about what lies between."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from deploykit import codec
from deploykit.command import Command
from deploykit.databases import MariaDB, Postgres, SQLite
from deploykit.errors import (
    CommandFailed,
    ConfigurationError,
    PlanStale,
    Refused,
    StageFailed,
)
from deploykit.migrations.plan import MigratePlan
from deploykit.secrets import Secret
from deploykit.stage import Acting, Planning
from deploykit.stages.backup import Backup
from deploykit.stages.migrate import Migrate
from tests.databases.servers import Login, MariaDBServer, PostgresServer
from tests.stages.alembic_project import (
    BROKEN,
    NICKS,
    ONE_WAY,
    USERS,
    install,
    project,
    revision,
)
from tests.stages.harness import Bench, packed

pytest_plugins = ["tests.databases.fixtures"]

PASSWORD = 'it\'s a "secret" %41;'


@dataclass(frozen=True)
class Marker:
    """A stage that does nothing, but pauses or starts services."""

    name: str
    pauses: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()

    def plan(self, ctx: Planning) -> None:
        """Plan nothing."""

    def apply(self, ctx: Acting, plan: None) -> None:
        """Do nothing, but have it stand in the journal."""
        del plan
        ctx.host.change(Command("start", "true"))

    def undo(self, ctx: Acting, plan: None) -> None:
        """Undo nothing."""


@dataclass
class Site:
    """A database with a project's migrations, and this machine as the host."""

    database: Postgres | MariaDB | SQLite
    execute: Callable[..., list[tuple[Any, ...]]]
    root: Path
    secrets: dict[str, str] = field(default_factory=dict)

    def bench(self, *revisions: str, **keywords: Any) -> Bench:
        """Pack and install a project with these revisions; a new run on the same database."""
        number = len(list(self.root.parent.glob("source*")))
        source = project(self.root.parent / f"source {number}", *revisions, **keywords)
        bench = Bench(
            self.root,
            secrets=self.secrets,
            packs={"transfer": packed(source)},
            path=(str(Path(sys.executable).parent),),
        )
        install(source, bench.layout.release(bench.run.release))
        return bench

    def migrate(self, **keywords: Any) -> Migrate:
        """Return the stage; a downgrade is permitted unless *keywords* say otherwise."""
        return Migrate("alembic.ini", self.database, **{"on_rollback": "downgrade", **keywords})

    def begin(self) -> None:
        """Bring the database to r1, with one row."""
        self.execute(
            "create table users (id integer not null primary key, name varchar(50))",
            "insert into users (id, name) values (1, 'ada')",
            "create table alembic_version (version_num varchar(32) not null primary key)",
            "insert into alembic_version values ('r1')",
        )

    def tables(self) -> set[str]:
        """Return the names of all tables but Alembic's."""
        query = {
            Postgres: "select tablename from pg_tables where schemaname = 'public'",
            MariaDB: "select table_name from information_schema.tables "
            "where table_schema = database()",
            SQLite: "select name from sqlite_master where type = 'table'",
        }[type(self.database)]
        return {row[0] for row in self.execute(query)} - {"alembic_version"}

    def revision(self) -> str:
        """Return the revision in the database."""
        return str(self.execute("select version_num from alembic_version")[0][0])


def of_login(login: Login, kind: type[Postgres | MariaDB], root: Path) -> Site:
    """Return a site on a server."""
    secret = Secret.on_host("shared/.env", "DATABASE_URL")
    return Site(kind(secret), login.execute, root, {"DATABASE_URL": login.url})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with everything in its name that a shell could trip over."""
    return tmp_path / "ro ot's \"ü$"


@pytest.fixture
def on_postgres(postgres_server: PostgresServer, root: Path) -> Site:
    """A site on PostgreSQL."""
    return of_login(postgres_server.database(password=PASSWORD), Postgres, root)


@pytest.fixture
def on_mariadb(mariadb_server: MariaDBServer, root: Path) -> Site:
    """A site on MariaDB."""
    return of_login(mariadb_server.database(password=PASSWORD), MariaDB, root)


@pytest.fixture
def on_sqlite(root: Path) -> Site:
    """A site on SQLite."""
    file = root / "shared/d b's.sqlite3"
    file.parent.mkdir(parents=True)

    def execute(*statements: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            return rows

    return Site(SQLite("shared/d b's.sqlite3"), execute, root)


@pytest.fixture(params=["postgres", "mariadb", "sqlite"])
def site(request: pytest.FixtureRequest) -> Site:
    """A site on each engine."""
    found: Site = request.getfixturevalue(f"on_{request.param}")
    return found


def test_forward_and_back(site: Site) -> None:
    """A migration goes forward once, and back to the schema and the rows that were there."""
    site.begin()
    bench, stage = site.bench(USERS, NICKS), site.migrate()
    plan = stage.plan(bench.planning())
    assert (plan.before, plan.after, plan.pending) == ("r1", "r2", ("r2 give users nicknames",))
    assert (plan.rung, plan.way) == (3, "downgrade")
    bench.apply(stage, plan)
    bench.apply(stage, plan)
    assert site.execute("select id, name, nick from users") == [(1, "ada", None)]
    assert [m.ok for m in stage.measure(bench.planning(), plan, undone=False)] == [True]
    bench.undo(stage, plan)
    bench.undo(stage, plan)
    assert site.execute("select * from users") == [(1, "ada")]
    assert site.revision() == "r1"
    assert [m.ok for m in stage.measure(bench.planning(), plan, undone=True)] == [True]


def test_first_deploy_goes_back_to_base(site: Site) -> None:
    """A database without a version table is at base, and comes back to it."""
    bench, stage = site.bench(USERS, NICKS), site.migrate()
    plan = stage.plan(bench.planning())
    assert (plan.before, plan.ids) == ("", ("r1", "r2"))
    bench.apply(stage, plan)
    assert site.tables() == {"users"}
    bench.undo(stage, plan)
    assert site.tables() == set()
    (measure,) = stage.measure(bench.planning(), plan, undone=True)
    assert (measure.wanted, measure.is_) == ("base", "base")


def test_plan_changes_nothing_and_survives_json(site: Site) -> None:
    """A plan leaves database and host alone, and is the same after a journal."""
    bench, stage = site.bench(USERS), site.migrate()
    before = sorted(site.root.rglob("*"))
    plan = stage.plan(bench.planning())
    assert sorted(site.root.rglob("*")) == before
    assert site.database.__class__ is SQLite or site.tables() == set()
    again = codec.decode(json.loads(json.dumps(codec.encode(plan))))
    assert again == plan
    assert codec.decode(json.loads(json.dumps(codec.encode(stage)))) == stage


def test_no_secret_anywhere(site: Site) -> None:
    """Neither plan nor stage nor events hold the password, in any spelling."""
    bench, stage = site.bench(USERS), site.migrate()
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    bench.undo(stage, plan)
    journal = Path(bench.layout.journal(bench.run.id)).read_text()
    said = f"{plan}{stage!r}{json.dumps(bench.told)}{journal}{plan.describe()}"
    assert "secret%22" not in said
    assert PASSWORD not in said
    assert json.dumps(PASSWORD)[1:-1] not in said


def test_nothing_pending(site: Site) -> None:
    """Where nothing is pending, nothing is done on rung 1."""
    site.begin()
    bench, stage = site.bench(USERS), site.migrate()
    plan = stage.plan(bench.planning())
    assert (plan.rung, plan.pending) == (1, ())
    bench.apply(stage, plan)
    bench.undo(stage, plan)
    assert "no migration is pending" in plan.describe()[0]
    assert not [event for event in bench.told if event["event"] == "command_ended"]


def test_undo_before_the_upgrade_began(site: Site) -> None:
    """An undo of what never began leaves a database alone, even one that others changed."""
    site.begin()
    bench, stage = site.bench(USERS, NICKS), site.migrate()
    plan = stage.plan(bench.planning())
    site.execute("create table other (id int)")
    bench.undo(stage, plan)
    assert site.tables() == {"users", "other"}


def test_half_of_several_revisions(site: Site) -> None:
    """Where the second of two revisions fails at once, the first is downgraded."""
    site.begin()
    fails = revision("r3", "r2", "fail", 'op.execute("select broken from nowhere")', "op.f('x')")
    bench, stage = site.bench(USERS, NICKS, fails), site.migrate()
    plan = stage.plan(bench.planning())
    with pytest.raises(CommandFailed):
        bench.apply(stage, plan)
    bench.undo(stage, plan)
    assert site.revision() == "r1"
    assert site.execute("select * from users") == [(1, "ada")]


def test_failed_upgrade_in_a_transaction(on_postgres: Site) -> None:
    """PostgreSQL takes a failed upgrade back by itself; the undo sees that it did."""
    on_postgres.begin()
    bench, stage = on_postgres.bench(USERS, NICKS, BROKEN), on_postgres.migrate()
    plan = stage.plan(bench.planning())
    with pytest.raises(CommandFailed):
        bench.apply(stage, plan)
    bench.undo(stage, plan)
    bench.undo(stage, plan)
    assert on_postgres.tables() == {"users"}
    assert on_postgres.revision() == "r1"


def test_half_applied_revision_is_not_called_undone(on_mariadb: Site) -> None:
    """What MariaDB keeps of a failed revision is seen and named, again and again."""
    on_mariadb.begin()
    bench, stage = on_mariadb.bench(USERS, NICKS, BROKEN), on_mariadb.migrate()
    plan = stage.plan(bench.planning())
    with pytest.raises(CommandFailed):
        bench.apply(stage, plan)
    for attempt in (1, 2):
        with pytest.raises(StageFailed, match="half applied"):
            bench.undo(stage, plan, attempt)
    on_mariadb.execute("drop table half")
    bench.undo(stage, plan, attempt=3)
    assert on_mariadb.execute("select * from users") == [(1, "ada")]


def test_imprecise_downgrade_is_told(site: Site) -> None:
    """A downgrade that ends at another schema is done, and said to be imprecise."""
    site.begin()
    leaves = revision(
        "r2",
        "r1",
        "index",
        'op.create_index("by_name", "users", ["name"])\nop.create_table("t", sa.Column("i", '
        "sa.Integer))",
        'op.drop_table("t")',
    )
    bench, stage = site.bench(USERS, leaves), site.migrate()
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    bench.undo(stage, plan)
    bench.undo(stage, plan)
    assert "schema_differs" in [event["event"] for event in bench.told]


def test_keep_leaves_the_schema(site: Site) -> None:
    """With "keep", a rollback leaves the schema, and the end table agrees."""
    site.begin()
    bench, stage = site.bench(USERS, NICKS), site.migrate(on_rollback="keep")
    plan = stage.plan(bench.planning())
    assert (plan.rung, plan.way) == (2, "keep")
    bench.apply(stage, plan)
    bench.undo(stage, plan)
    assert site.revision() == "r2"
    (measure,) = stage.measure(bench.planning(), plan, undone=True)
    assert measure.ok


def test_moved_world_is_stale(on_sqlite: Site) -> None:
    """A database that moved between plan and apply is not touched."""
    on_sqlite.begin()
    bench, stage = on_sqlite.bench(USERS, NICKS), on_sqlite.migrate()
    plan = stage.plan(bench.planning())
    on_sqlite.execute("update alembic_version set version_num = 'elsewhere'")
    with pytest.raises(PlanStale, match="elsewhere"):
        bench.apply(stage, plan)
    bench.undo(stage, plan)
    assert on_sqlite.execute("select * from users") == [(1, "ada")]


def test_exit_code_alone_is_not_believed(on_sqlite: Site) -> None:
    """A command that ends well and migrates nothing has failed."""
    bench, stage = on_sqlite.bench(USERS), on_sqlite.migrate(command="true 'with words'")
    plan = stage.plan(bench.planning())
    assert plan.words == ("true", "with words")
    with pytest.raises(StageFailed, match="not at r1"):
        bench.apply(stage, plan)


def test_version_table_in_a_schema(on_postgres: Site) -> None:
    """The revision is read from the table that `version_table` and `schema` name."""
    name = 'ver"sion'
    on_postgres.execute('create schema "my app"')
    options = {"version_table": name, "version_table_schema": "my app"}
    bench = on_postgres.bench(USERS, options=options)
    stage = on_postgres.migrate(version_table=name, schema="my app")
    plan = stage.plan(bench.planning())
    assert plan.before == ""
    bench.apply(stage, plan)
    assert stage.plan(bench.planning()).before == "r1"
    bench.undo(stage, plan)
    assert on_postgres.tables() == set()


def test_unknown_revision_is_refused(site: Site) -> None:
    """A database at a revision that the source lacks is not touched."""
    site.begin()
    site.execute("update alembic_version set version_num = 'gone'")
    bench = site.bench(USERS)
    with pytest.raises(ConfigurationError, match="gone"):
        site.migrate().plan(bench.planning())


def test_database_out_of_reach(on_postgres: Site) -> None:
    """A wrong password is an error of configuration, and is not shown."""
    bench = on_postgres.bench(USERS)
    bench.secrets = {"DATABASE_URL": on_postgres.secrets["DATABASE_URL"].replace("%2541", "oh-no")}
    with pytest.raises(ConfigurationError, match="cannot be reached") as caught:
        on_postgres.migrate().plan(bench.planning())
    assert "oh-no" not in str(caught.value)


@pytest.mark.parametrize("on_rollback", ["downgrade", "replay", "restore"])
def test_no_way_back_is_refused(on_sqlite: Site, on_rollback: str) -> None:
    """A revision without a downgrade is refused at planning, naming what would help."""
    on_sqlite.begin()
    bench = on_sqlite.bench(USERS, ONE_WAY)
    with pytest.raises(Refused, match="r2 forget names") as caught:
        on_sqlite.migrate(on_rollback=on_rollback).plan(bench.planning())
    assert ("accept_loss" in str(caught.value)) == (on_rollback == "restore")
    assert on_sqlite.migrate(on_rollback="keep").plan(bench.planning()).rung == 2


def test_replay_says_what_it_is(on_sqlite: Site) -> None:
    """Where "replay" is permitted, the plan says that rung 3 is what there is."""
    bench = on_sqlite.bench(USERS)
    plan = on_sqlite.migrate(on_rollback="replay").plan(bench.planning())
    assert plan.rung == 3
    assert any("replay" in line for line in plan.describe())


def test_plan_tells_what_a_rollback_loses(on_sqlite: Site) -> None:
    """What upgrade and downgrade drop stands in the plan, each with what that means."""
    drops = revision(
        "r2",
        "r1",
        "no names",
        'op.drop_column("users", "name")',
        'op.add_column("users", sa.Column("name", sa.String(50)))\nop.execute("delete from x")',
    )
    bench = on_sqlite.bench(USERS, drops)
    plan = on_sqlite.migrate().plan(bench.planning())
    assert "all that is in column users.name" in plan.loses
    assert "written meanwhile into table users" in plan.loses
    assert "own SQL" in plan.loses


def test_note_about_a_missing_pause(on_sqlite: Site) -> None:
    """Without a Pause before it the plan warns, unless `online=True` is written."""
    bench, stage = on_sqlite.bench(USERS), on_sqlite.migrate()

    def warned(stage: Migrate, *before: Marker) -> bool:
        bench.stages = (*before, stage)
        return any("no Pause" in line for line in stage.plan(bench.planning()).describe())

    assert warned(stage)
    assert not warned(stage, Marker("pause", pauses=("shop",)))
    assert not warned(replace(stage, online=True))


def paused_site(site: Site, *revisions: str, **keywords: Any) -> tuple[Bench, Backup, Migrate]:
    """Return a site whose pipeline pauses, backs up, migrates and starts."""
    bench = site.bench(*revisions)
    backup = Backup(site.database)
    stage = site.migrate(on_rollback="restore", **keywords)
    bench.stages = (
        Marker("pause", pauses=("shop",)),
        backup,
        stage,
        Marker("restart", starts=("shop",)),
    )
    return bench, backup, stage


def test_restore_what_cannot_be_downgraded(site: Site) -> None:
    """Where no service ran since the backup, it is restored by itself."""
    site.begin()
    bench, backup, stage = paused_site(site, USERS, ONE_WAY, accept_loss=0)
    backup_plan, plan = backup.plan(bench.planning()), stage.plan(bench.planning())
    assert (plan.rung, plan.way, plan.backup) == (5, "restore", backup_plan.path)
    bench.apply(backup, backup_plan)
    bench.apply(stage, plan)
    assert site.execute("select * from users") == [(1, None)]
    site.execute("create table new (id int)")
    bench.undo(stage, plan)
    bench.undo(stage, plan)
    assert site.execute("select * from users") == [(1, "ada")]
    assert site.tables() == {"users"}
    assert site.revision() == "r1"


def test_restore_after_a_half_applied_upgrade(on_mariadb: Site) -> None:
    """What MariaDB keeps of a failed revision is gone after a restore."""
    on_mariadb.begin()
    one_way = BROKEN.replace('op.drop_table("half")', "pass")
    bench, backup, stage = paused_site(on_mariadb, USERS, NICKS, one_way, accept_loss=0)
    backup_plan, plan = backup.plan(bench.planning()), stage.plan(bench.planning())
    bench.apply(backup, backup_plan)
    with pytest.raises(CommandFailed):
        bench.apply(stage, plan)
    bench.undo(stage, plan)
    assert on_mariadb.tables() == {"users"}
    assert on_mariadb.execute("select * from users") == [(1, "ada")]


def restarted(site: Site, accept_loss: int) -> tuple[Bench, Migrate, MigratePlan]:
    """Return a migrated site whose services ran since."""
    site.begin()
    bench, backup, stage = paused_site(site, USERS, ONE_WAY, accept_loss=accept_loss)
    backup_plan, plan = backup.plan(bench.planning()), stage.plan(bench.planning())
    bench.apply(backup, backup_plan)
    bench.apply(stage, plan)
    bench.apply(bench.stages[-1], None)
    return bench, stage, plan


def test_restore_counts_what_it_would_lose(on_postgres: Site) -> None:
    """Rows that the new release wrote are counted, and more than accepted are not lost."""
    bench, stage, plan = restarted(on_postgres, accept_loss=1)
    on_postgres.execute("insert into users values (2, 'bob')", "update users set name = 'x'")
    with pytest.raises(StageFailed, match="would lose 3 written rows"):
        bench.undo(stage, plan)
    assert len(on_postgres.execute("select * from users")) == 2
    bench.undo(replace(stage, accept_loss=3), plan, attempt=2)
    assert on_postgres.execute("select * from users") == [(1, "ada")]


@pytest.mark.parametrize("engine", ["mariadb", "sqlite"])
def test_restore_does_not_guess(engine: str, request: pytest.FixtureRequest) -> None:
    """Where written rows cannot be counted and services ran, nothing is restored by itself."""
    site: Site = request.getfixturevalue(f"on_{engine}")
    bench, stage, plan = restarted(site, accept_loss=1000)
    with pytest.raises(StageFailed, match="not restored by itself"):
        bench.undo(stage, plan)
    assert site.execute("select * from users") == [(1, None)]


def test_changed_backup_is_not_restored(on_sqlite: Site) -> None:
    """A backup that is not as it was made is left alone."""
    on_sqlite.begin()
    bench, backup, stage = paused_site(on_sqlite, USERS, ONE_WAY, accept_loss=0)
    backup_plan, plan = backup.plan(bench.planning()), stage.plan(bench.planning())
    bench.apply(backup, backup_plan)
    bench.apply(stage, plan)
    with Path(plan.backup).open("ab") as dump:
        dump.write(b"x")
    with pytest.raises(CommandFailed, match="not as it was made"):
        bench.undo(stage, plan)


def test_restore_prefers_a_downgrade_that_loses_nothing(on_sqlite: Site) -> None:
    """With a downgrade for everything and nothing dropped, rung 3 is chosen before rung 5."""
    on_sqlite.begin()
    bench, _, stage = paused_site(on_sqlite, USERS, NICKS, accept_loss=5)
    assert stage.plan(bench.planning()).way == "downgrade"


def test_restore_needs_pause_and_backup(on_sqlite: Site) -> None:
    """What is missing for a restore is named."""
    on_sqlite.begin()
    bench, backup, stage = paused_site(on_sqlite, USERS, ONE_WAY, accept_loss=5)
    for stages, hint in (((backup, stage), "Pause"), ((stage,), "Backup"), ((), "Backup")):
        bench.stages = stages
        with pytest.raises(Refused, match=hint):
            stage.plan(bench.planning())


def test_ini_in_a_folder(on_sqlite: Site) -> None:
    """Migrations run in the ini file's folder, whatever it is called."""
    folder = on_sqlite.root.parent / "top"
    project(folder / "back end's", USERS)
    bench = Bench(
        on_sqlite.root,
        packs={"transfer": packed(folder)},
        path=(str(Path(sys.executable).parent),),
    )
    install(folder, bench.layout.release(bench.run.release))
    stage = Migrate("back end's/alembic.ini", on_sqlite.database, on_rollback="downgrade")
    plan = stage.plan(bench.planning())
    assert plan.folder.endswith("back end's")
    bench.apply(stage, plan)
    assert on_sqlite.tables() == {"users"}


@pytest.mark.parametrize(
    "keywords",
    [
        {"on_rollback": "maybe"},
        {"on_rollback": "keep", "accept_loss": 3},
        {"on_rollback": "restore", "accept_loss": -1},
        {"on_rollback": "keep", "undo_for": "a while"},
        {"on_rollback": "keep", "command": ""},
        {"on_rollback": "keep", "command": "it's"},
    ],
)
def test_wrong_words(keywords: dict[str, Any]) -> None:
    """A wrong argument is an error before the first connection."""
    with pytest.raises(ConfigurationError):
        Migrate("alembic.ini", SQLite("db"), **keywords)


def test_on_rollback_has_no_default() -> None:
    """What a rollback may do is written down."""
    with pytest.raises(TypeError, match="on_rollback"):
        Migrate("alembic.ini", SQLite("db"))  # type: ignore[call-arg]  # what is tested
