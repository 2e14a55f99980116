"""A change is done once, whoever asks how often; and what cannot be done says why."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploykit import Host, Secret
from deploykit.command import Command
from deploykit.engine import lock
from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet, reached
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.receipts import KEEP, LookOnly, UnitHost, command_name
from deploykit.errors import CommandFailed, Fenced, Interrupted, PlanWrote, SecretMissing
from deploykit.source import read_tree
from tests.engine.conftest import Site
from tests.farm import eventually
from tests.processes import parent, running

RUN = "20261104T101512Z-0badcafe"


@pytest.fixture
def fleet(site: Site, events: Events) -> Iterator[Fleet]:
    """Give a fleet of one that holds the lock."""
    with reached(site.environment(), events) as found:
        found.each(lambda session: session.prepare())
        lock.take(found, RUN, "run")
        yield found


@pytest.fixture
def unit(fleet: Fleet, events: Events) -> UnitHost:
    """Return the host as the first stage's apply sees it."""
    return unit_of(fleet, events)


def unit_of(fleet: Fleet, events: Events, attempt: int = 1) -> UnitHost:
    """Return the host as a stage sees it."""
    session = fleet.sessions["one"]
    return UnitHost(
        session,
        RUN,
        1,
        "stage",
        "apply",
        attempt,
        {"WHO": "it's me"},
        ("/a b",),
        events,
        Interrupts(),
    )


def test_a_change_is_done_once(unit: UnitHost, site: Site) -> None:
    """In the root, with the variables and the PATH that were said."""
    command = Command("do", 'echo "$WHO ${PATH%%:*} $(basename "$PWD")" | tee -a count')
    first, second = unit.change(command), unit.change(command)
    assert (first.output, first.before, second.before) == (second.output, False, True)
    assert site.lines("count") == ["it's me /a b it's the \"root\""]


def test_who_was_fenced_keeps_nobody_from_a_command(unit: UnitHost, site: Site) -> None:
    """It holds the command for a moment and is refused; whoever attached to it sends it again."""
    output = site.root / f".deploykit/runs/{RUN}/output"
    output.mkdir(parents=True)
    with (
        ThreadPoolExecutor() as pool,
        (output / f"{command_name('stage', 'apply', 'do')}.1.running").open("w") as held,
    ):
        fcntl.flock(held, fcntl.LOCK_EX)
        change = pool.submit(unit.change, Command("do", "echo x | tee -a count"))
        eventually(lambda: running("flock -s -w 0.25 5"))
        fcntl.flock(held, fcntl.LOCK_UN)
        assert change.result(30).output == "x\n"
    assert site.lines("count") == ["x"]


def test_another_attempt_does_it_again(fleet: Fleet, events: Events, site: Site) -> None:
    """A second turn back is not answered by the first one's failures."""
    command = Command("do", "echo x >>count; [ $(wc -l <count) -gt 1 ]")
    with pytest.raises(CommandFailed, match=r"'do'.*exit 1"):
        unit_of(fleet, events).change(command)
    assert unit_of(fleet, events, 2).change(command).ok
    assert unit_of(fleet, events).change(command, check=False).exit_code == 1
    assert site.lines("count") == ["x", "x"]


def test_one_key_names_one_command(unit: UnitHost) -> None:
    """A stage that uses a key twice is told so."""
    unit.change(Command("do", "true"))
    with pytest.raises(CommandFailed, match="one key names one command"):
        unit.change(Command("do", "false"))


@pytest.mark.parametrize("again", [True, False])
def test_a_torn_command_runs_again_only_where_it_may(
    unit: UnitHost, fleet: Fleet, events: Events, site: Site, again: bool
) -> None:
    """And never beside what is left of its first try."""
    text = "echo x >>count; [ $(wc -l <count) -gt 1 ] || sleep 719.3; ! pgrep -f 'sleep 719[.]3'"
    command = Command("do", text, again=again)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(unit.change, command, check=False)
        eventually(lambda: running("sleep 719.3"))
        state = site.root / f".deploykit/runs/{RUN}/output/stage.apply.do.1.state"
        os.kill(parent(int(state.read_text().split()[1])), signal.SIGKILL)
        if again:
            assert first.result(30).ok
        else:
            with pytest.raises(CommandFailed, match="cut short when the host died"):
                first.result(30)
            unit.running = "stage.apply.do.1"
            unit.stop_running()
    assert running("sleep 719.3") == []
    assert len(site.lines("count")) == (2 if again else 1)


def test_an_older_controller_is_fenced(
    unit: UnitHost, fleet: Fleet, site: Site, tmp_path: Path
) -> None:
    """It is told that another one has taken over, has no effect, and takes away what it sent."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("text")
    unit.upload(tmp_path / "source", read_tree(tmp_path / "source"), str(site.root / ".part"))
    sent = site.root / f".part.{unit.epoch}"
    assert (sent / "file").read_text() == "text"
    lock.take_over(fleet, RUN, "resume")
    with pytest.raises(Fenced, match="was taken over"):
        unit.change(Command("do", "touch done"))
    assert list(site.root.glob(".part.*")) == []
    with pytest.raises(Fenced):
        unit.put(b"text", str(site.root / "done"))
    assert not (site.root / "done").exists()


def test_nothing_begins_once_somebody_asked_to_stop(unit: UnitHost, site: Site) -> None:
    """Ctrl-C between two commands of a stage ends it there."""
    with unit.interrupts:
        unit.change(Command("one", "touch one"))
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            unit.change(Command("two", "touch two"))
    assert (site.root / "one").exists()
    assert not (site.root / "two").exists()


def test_a_result_carries_the_end_of_a_long_output(unit: UnitHost) -> None:
    """The last MiB, also where the receipt answers."""
    command = Command("do", "head -c 3000000 /dev/zero | tr '\\0' x; echo end")
    for _ in range(2):
        output = unit.change(command).output
        assert (len(output), output[-5:]) == (KEEP, "xend\n")


def test_a_small_file_is_written_whole(unit: UnitHost, site: Site) -> None:
    """With its mode, under any name, and nothing beside it; it counts as an effect."""
    path = site.root / "it's a file"
    unit.put(b"one\0two", str(path), 0o640)
    unit.put(b"three", str(path), 0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"three", 0o600)
    assert list(site.root.glob("*.part*")) == []
    kinds = [record["kind"] for record in unit.session.records(unit.session.layout.journal(RUN))]
    assert kinds == ["began"]


def test_a_plan_may_only_look(fleet: Fleet) -> None:
    """Whatever changes is refused by name; what is not there is an ordinary mistake."""
    look = LookOnly(fleet.sessions["one"])
    assert look.query("echo x").output == "x\n"
    for name in ("change", "put", "upload"):
        with pytest.raises(PlanWrote, match=name):
            getattr(look, name)
    with pytest.raises(AttributeError):
        _ = look.color


def test_a_command_has_a_readable_name_of_its_own() -> None:
    """Plain where it can be, with a digest where it cannot; never the same for two."""
    assert command_name("migrate", "apply", "upgrade") == "migrate.apply.upgrade"
    keys = ["a b", "a/b", "a\nb", "x" * 300, "x" * 301]
    names = {command_name("s", "apply", key) for key in keys}
    assert len(names) == len(keys)
    assert all("/" not in name and len(name) < 100 for name in names)


def test_two_literals_that_look_alike_are_not_confused(site: Site, events: Events) -> None:
    """A journal knows them by their masked form only: rather none than the wrong one."""
    environment = site.environment()
    hosts = [
        Host("local:", name=name, sudo=Secret.literal(value))
        for name, value in (("a", "pw-one"), ("b", "pw-two"))
    ]
    object.__setattr__(environment, "hosts", tuple(hosts))
    with reached(environment, events) as fleet:
        assert fleet.resolver.secret(Secret.literal("pw-one")) == "pw-one"
        with pytest.raises(SecretMissing, match="twice with different values"):
            fleet.resolver.secret(Secret("literal", name="***"))


def test_a_command_is_known_by_script_and_folder(tmp_path: Path) -> None:
    """Variables and secrets are no part of what a receipt compares."""
    plain = Command("do", "true")
    assert plain.digest == Command("other", "true", env={"A": "b"}, timeout=1).digest
    assert plain.digest != Command("do", "true", cwd=str(tmp_path)).digest
