"""Backups on real databases: whole under their final name, or not there."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploykit import codec
from deploykit.databases import MariaDB, Postgres, SQLite
from deploykit.databases.backups import shelf
from deploykit.errors import BackupUnusable, ConfigurationError, StageFailed
from deploykit.shell import fill
from deploykit.stages.backup import Backup, BackupPlan
from tests.databases.servers import SECRET, MariaDBServer, PostgresServer
from tests.stages.harness import Bench

pytest_plugins = ["tests.databases.fixtures"]

Make = Callable[[], tuple[Bench, Backup]]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """This machine as a host, with an awkward root."""
    return Bench(tmp_path / "ro ot's \"ü$")


@pytest.fixture
def small(bench: Bench) -> Backup:
    """A backup of a small SQLite database."""
    file = bench.root / "shared/shop.sqlite3"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("create table users (name text)")
        connection.execute("insert into users values ('ada')")
    return Backup(SQLite("shared/shop.sqlite3"))


@pytest.fixture(params=["postgres", "mariadb", "sqlite"])
def backup(request: pytest.FixtureRequest, bench: Bench) -> Backup:
    """A backup of a database of each engine."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        login = server.database()
        login.execute("create table users (name text)", "insert into users values ('ada')")
        return Backup(Postgres(login.url))
    if request.param == "mariadb":
        other: MariaDBServer = request.getfixturevalue("mariadb_server")
        login = other.database()
        login.execute("create table users (name text)", "insert into users values ('ada')")
        return Backup(MariaDB(login.url))
    small: Backup = request.getfixturevalue("small")
    return small


def made(bench: Bench, stage: Backup) -> BackupPlan:
    """Make a backup in a run of its own."""
    bench.new_run()
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    return plan


def files(bench: Bench) -> set[str]:
    """Return the names of all files among the backups."""
    folder = Path(bench.layout.backups)
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_backup(bench: Bench, backup: Backup) -> None:
    """A backup is made once, for its owner alone, with a manifest that names its content."""
    before = files(bench)
    plan = backup.plan(bench.planning())
    assert files(bench) == before == set()
    bench.apply(backup, plan)
    bench.apply(backup, plan)
    assert files(bench) == {f"{plan.id}.json", Path(plan.path).name}
    dump, manifest = Path(plan.path), Path(plan.path).with_name(f"{plan.id}.json")
    assert [path.stat().st_mode & 0o777 for path in (dump, manifest)] == [0o600, 0o600]
    assert dump.parent.stat().st_mode & 0o777 == 0o700
    (record,) = shelf(bench.planning().host, bench.layout).records
    assert record.sha256 == hashlib.sha256(dump.read_bytes()).hexdigest()
    assert (record.size, record.run) == (dump.stat().st_size, bench.run.id)
    assert json.loads(manifest.read_text())["engine"] == plan.engine


def test_plan_survives_json_and_describes_itself(bench: Bench, backup: Backup) -> None:
    """A plan is the same after a journal, and says what is backed up, by what, and where to."""
    plan = backup.plan(bench.planning())
    assert codec.decode(json.loads(json.dumps(codec.encode(plan)))) == plan
    text = "\n".join(plan.describe())
    assert plan.path in text
    assert plan.version in text
    assert plan.version[0].isdigit()


def test_no_secret_anywhere(bench: Bench, backup: Backup) -> None:
    """Neither plan, manifest, journal nor events hold the password."""
    plan = made(bench, backup)
    manifest = Path(plan.path).with_name(f"{plan.id}.json").read_text()
    journal = Path(bench.layout.journal(bench.run.id)).read_text()
    said = f"{plan}{backup!r}{manifest}{journal}{bench.told}{json.dumps(codec.encode(backup))}"
    assert SECRET not in said
    assert json.dumps(SECRET)[1:-1] not in said
    assert "p%40ss" not in said


def test_undo_keeps_what_is_verified(bench: Bench, backup: Backup) -> None:
    """An undo, also a second one, never removes a finished backup."""
    plan = made(bench, backup)
    there = files(bench)
    bench.undo(backup, plan)
    bench.undo(backup, plan)
    assert files(bench) == there


def test_undo_removes_what_is_unfinished(bench: Bench, small: Backup) -> None:
    """What a killed dump left under its temporary names goes; what is whole stays."""
    kept = made(bench, small)
    bench.new_run()
    plan = small.plan(bench.planning())
    for end in (".part", ".part-journal"):
        Path(plan.path + end).write_text("half")
    Path(plan.path).with_name(f"{plan.id}.json.part").write_text("half")
    bench.undo(small, plan)
    assert files(bench) == {f"{kept.id}.json", Path(kept.path).name}


def wrapped(bench: Bench, plan: BackupPlan, script: str) -> BackupPlan:
    """Return *plan* with its tool replaced by a script that may call the real one as `$real`."""
    tool = bench.root / "tools" / Path(plan.tool).name
    tool.parent.mkdir()
    for sibling in Path(plan.tool).parent.glob("pg_restore"):
        (tool.parent / sibling.name).symlink_to(sibling)
    tool.write_text("#!/bin/sh\n" + fill("real={}\n", plan.tool) + script)
    tool.chmod(0o755)
    return replace(plan, tool=str(tool))


# Finds the file that the tool writes among its words, lets it, and cuts off its end.
CUT = """\
"$real" "$@" || exit
for word; do
  case $word in
    --file=*) truncate --size=-50 "${word#--file=}" ;;
    'vacuum into '*) truncate --size=-4096 "$(printf %s "$word" |
      sed "s/^vacuum into '//; s/'$//; s/''/'/g")" ;;
  esac
done
case $real in *mariadb-dump) case $1 in --version) ;; *) exit 3 ;; esac ;; esac
"""


def test_damaged_dump_gets_no_name(bench: Bench, backup: Backup) -> None:
    """A dump that is not whole is refused and removed, and earlier backups stay."""
    first = made(bench, backup)
    there = files(bench)
    bench.new_run()
    plan = wrapped(bench, backup.plan(bench.planning()), CUT)
    with pytest.raises(BackupUnusable) as caught:
        bench.apply(backup, plan)
    assert "earlier backups are as they were" in str(caught.value)
    assert files(bench) == there == {f"{first.id}.json", Path(first.path).name}


def test_tool_that_says_why(bench: Bench, backup: Backup) -> None:
    """What the dump tool says of its failure is passed on."""
    plan = wrapped(bench, backup.plan(bench.planning()), "echo the reason >&2; exit 3\n")
    with pytest.raises(BackupUnusable, match="the reason"):
        bench.apply(backup, plan)
    assert files(bench) == set()


def test_no_room_is_seen_at_planning(
    bench: Bench, small: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the last backup would not fit again, nothing is begun."""
    made(bench, small)
    bench.new_run()
    narrow(bench.root, monkeypatch)
    with pytest.raises(ConfigurationError, match="1 KiB free"):
        small.plan(bench.planning())


def test_no_room_is_seen_before_the_dump(
    bench: Bench, small: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that filled up since planning stops the backup before it fills it more."""
    made(bench, small)
    there = files(bench)
    bench.new_run()
    plan = small.plan(bench.planning())
    narrow(bench.root, monkeypatch)
    with pytest.raises(StageFailed, match="does not fit"):
        bench.apply(small, plan)
    assert files(bench) == there


def narrow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `df` say that one KiB is free."""
    tool = root / "narrow/df"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nprintf 'head\\nfs 9 8 1 99%% /\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")


def test_disk_full_during_the_dump(bench: Bench, small: Backup) -> None:
    """A dump that the disk does not take is removed, and earlier backups are untouched."""
    made(bench, small)
    there = {path: path.read_bytes() for path in Path(bench.layout.backups).iterdir()}
    bench.new_run()
    # A limit on the size of files is met as a full disk is: in the middle of writing.
    plan = wrapped(bench, small.plan(bench.planning()), 'ulimit -f 1\n"$real" "$@"\n')
    with pytest.raises(BackupUnusable):
        bench.apply(small, plan)
    assert {path: path.read_bytes() for path in Path(bench.layout.backups).iterdir()} == there


def test_backups_that_cannot_be_written(bench: Bench, small: Backup) -> None:
    """Where the folder cannot be made, the error says so."""
    plan = small.plan(bench.planning())
    Path(bench.layout.backups).write_text("a file is in the way")
    with pytest.raises(StageFailed, match="could not be written"):
        bench.apply(small, plan)


def test_newest_are_kept(bench: Bench, small: Backup) -> None:
    """Older backups go once the new one is verified, when no recent run names them."""
    stage = replace(small, keep=2)
    plans = [made(bench, stage) for _ in range(8)]
    assert files(bench) == {
        name for plan in plans[-2:] for name in (f"{plan.id}.json", Path(plan.path).name)
    }


def journal_of(bench: Bench, *records: dict[str, Any]) -> None:
    """Add records to the journal of the present run."""
    bench.session.append(f"runs/{bench.run.id}/journal.jsonl", records, bench.epoch)


def test_a_backup_that_a_recent_run_names_is_kept(bench: Bench, small: Backup) -> None:
    """What one of the last runs may still need is not removed, whatever `keep` says."""
    stage = replace(small, keep=1)
    first = made(bench, stage)
    journal_of(bench, {"kind": "plan", "stage": "migrate", "plan": {"backup": first.path}})
    second = made(bench, stage)
    assert second.expired == ()
    assert Path(first.path).exists()


def test_a_backup_that_an_unfinished_run_names_is_kept(bench: Bench, small: Backup) -> None:
    """What an old run that never ended may still need is not removed."""
    stage = replace(small, keep=1)
    first = made(bench, stage)
    journal_of(bench, {"kind": "plan", "plan": {"backup": first.path}})
    for _ in range(7):
        last = made(bench, stage)
    assert Path(first.path).exists()
    for run in Path(bench.layout.private, "runs").iterdir():
        with (run / "journal.jsonl").open("a") as journal:
            journal.write('{"kind":"confirmed"}\n')
    made(bench, stage)
    assert not Path(first.path).exists()
    assert not Path(last.path).exists()


def test_keep_by_age(bench: Bench, small: Backup) -> None:
    """Only what is older than `keep` says goes, by the host's clock."""
    stage = replace(small, keep="14 days")
    old, young = made(bench, stage), made(bench, stage)
    for plan, at in ((old, "2001-01-01T00:00:00+00:00"), (young, None)):
        manifest = Path(plan.path).with_name(f"{plan.id}.json")
        record = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**record, "at": at or record["at"]}))
    made(bench, stage)
    assert not Path(old.path).exists()
    assert Path(young.path).exists()


def test_other_databases_are_not_counted(bench: Bench, small: Backup) -> None:
    """A backup of another database in the same folder is none of ours."""
    other = bench.root / "shared/other.sqlite3"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("create table t (x)")
    theirs = made(bench, Backup(SQLite("shared/other.sqlite3"), keep=1, name="other"))
    for _ in range(7):
        made(bench, replace(small, keep=1))
    assert Path(theirs.path).exists()


def test_nothing_to_back_up_yet(bench: Bench) -> None:
    """Before the first deploy there is no file, and that is said and not an error."""
    stage = Backup(SQLite("shared/new.sqlite3"))
    plan = made(bench, stage)
    bench.undo(stage, plan)
    assert "nothing to back up" in plan.describe()[0]
    assert files(bench) == set()


def test_torn_manifests_are_no_backups(bench: Bench, small: Backup) -> None:
    """Neither a torn manifest nor a foreign file hides the backups that are there."""
    plan = made(bench, small)
    for name, text in (("x.json", '{"id": "x'), ("y.json", "[1]"), ("z.json", '{"a": 1}')):
        Path(bench.layout.backups, name).write_text(text)
    assert [record.id for record in shelf(bench.planning().host, bench.layout).records] == [plan.id]


@pytest.mark.parametrize("keep", [0, -1, True, "a while", ""])
def test_wrong_keep(keep: int | str) -> None:
    """A `keep` that means nothing is an error before the first connection."""
    with pytest.raises(ConfigurationError):
        Backup(SQLite("db"), keep=keep)
