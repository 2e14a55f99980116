"""
Several operators at once: whatever they type, never two are at work on a host.

DEPLOYKIT_FAULTS_SEED repeats the rounds, DEPLOYKIT_FAULTS_SECONDS says how long they may take
(`inf`: all of them).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from random import Random, SystemRandom

import pytest

from deploykit.engine import api
from deploykit.errors import DeploykitError, LockHeld
from tests.farm import Hosts, eventually
from tests.faults.crew import Controller, Crew, Ended, Verb
from tests.faults.yard import Yard, environment

# Read here: the tests' own fixture empties the environment of such names.
SEED = int(os.environ.get("DEPLOYKIT_FAULTS_SEED", SystemRandom().randrange(1 << 16)))
SECONDS = float(os.environ.get("DEPLOYKIT_FAULTS_SECONDS", "40"))
ROUNDS = 200
OPERATORS = 20
BOUND = 120.0


@pytest.fixture(scope="module")
def yard(module_hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Return a server to which everybody deploys."""
    made = Yard(module_hosts(1), tmp_path_factory.mktemp("operators"), Crew())
    made.prepare()
    yield made
    made.crew.close()


@pytest.fixture(autouse=True)
def clean(yard: Yard) -> Iterator[None]:
    """Leave nothing behind for the next test."""
    yield
    yard.let_go()
    if yard.unfinished() or any(sight.locked for sight in yard.look().values()):
        yard.do("rollback", takeover=True)


def test_one_of_twenty_runs_proceeds(yard: Yard, capfd: pytest.CaptureFixture[str]) -> None:
    """The others exit 4 or 5 and touch nothing, also where some of them are killed."""
    began, number = time.monotonic(), 0
    while number < ROUNDS and time.monotonic() < began + SECONDS:
        number += 1
        with capfd.disabled():
            print(f"\nround {number} DEPLOYKIT_FAULTS_SEED={SEED}", end=" ", flush=True)
            print(_round(yard, Random(f"{SEED}.{number}"), kills=number % 2 == 0), end="")


def _round(yard: Yard, random: Random, *, kills: bool) -> str:
    """Have twenty runs begin, some of which are killed; return what came of it, as a line."""
    before = yard.look()[yard.hosts[0].name]
    yard.hold()
    crew = [yard.crew.start(yard.order("run")) for _ in range(OPERATORS)]
    doomed = random.sample(crew, random.randrange(1, 8)) if kills else []
    at = sorted(time.monotonic() + random.uniform(0.2, 6.0) for _ in doomed)
    end = time.monotonic() + BOUND
    while sum(not one.has_ended for one in crew) > 1:
        assert time.monotonic() < end, "more than one of them is at work"
        while at and time.monotonic() > at[0]:
            at.pop(0)
            doomed.pop().kill()
        time.sleep(0.01)
    last = [one for one in crew if not one.has_ended]
    if last:
        _until_inside(yard, last[0])
    now = yard.look()[yard.hosts[0].name]
    fresh = set(now.journals) - set(before.journals)
    assert len(fresh) <= 1, f"more than one run has a journal: {fresh}"
    refused = [one.ended() for one in crew if one not in last and one.ended().code is not None]
    for ended in refused:
        assert ended.code in (4, 5), ended
        assert "nothing was touched" in ended.error, ended
    if not kills:
        assert len(last) == 1
    yard.let_go()
    done = last[0].wait(BOUND) if last else None
    # The last may be told that one of those that were killed has left its run unfinished.
    assert done is None or done.code == 0 or (kills and done.code == 5), done
    words = _recovered(yard, random)
    wrong = eventually_right(yard)
    assert not wrong, wrong
    killed = OPERATORS - len(refused) - len(last)
    done_by = "one" if done and done.code == 0 else "none"
    return f"{len(refused)} refused, {killed} killed, {done_by} done{words}"


def _until_inside(yard: Yard, last: Controller) -> None:
    """Wait until the only one that is left has a command at work, or has ended."""
    eventually(lambda: last.has_ended or yard.is_inside(), within=BOUND, message=str(last))


def _recovered(yard: Yard, random: Random) -> str:
    """Have somebody end what a dead controller has left; return what he did, in words."""
    sights = yard.look()
    if not yard.unfinished(sights) and not any(sight.locked for sight in sights.values()):
        return ""
    verb: Verb = random.choice(("resume", "rollback")) if yard.unfinished(sights) else "resume"
    ended = _not_at_work(yard, verb)
    # What was a rollback of a finished run is a success when it is done, whoever has finished it.
    failed = verb == "resume" and ended.state == "rolled_back" and ended.run == ended.release
    assert ended.code == (1 if failed else 0), ended
    return f", then {verb}: {ended}"


def _not_at_work(yard: Yard, verb: Verb) -> Ended:
    """Do *verb*, again and again where the controller that was killed seems to be at work."""
    end = time.monotonic() + 30
    while True:
        ended = yard.do(verb)
        if ended.kind != "StillAtWork" or time.monotonic() > end:
            return ended


def eventually_right(yard: Yard, live: str | None = None) -> list[str]:
    """Return what is wrong; what is ending by itself is given a moment for it."""
    end = time.monotonic() + 10
    while True:
        wrong = yard.wrong(live)
        if not wrong or time.monotonic() > end:
            return wrong
        time.sleep(0.05)


RACERS: tuple[tuple[Verb, bool], ...] = (
    *(("resume", False), ("resume", True), ("rollback", False), ("rollback", True)),
    *(("run", False), ("run", False), ("resume", True), ("rollback", True)),
)


def test_resume_rollback_and_run_race(yard: Yard, capfd: pytest.CaptureFixture[str]) -> None:
    """A run that was cut short is ended once, and whoever says so tells the truth."""
    began, number = time.monotonic(), 0
    while number < ROUNDS // 4 and time.monotonic() < began + SECONDS:
        number += 1
        with capfd.disabled():
            print(f"\nrace {number} DEPLOYKIT_FAULTS_SEED={SEED}", end=" ", flush=True)
            print(_race(yard, Random(f"race {SEED}.{number}")), end="", flush=True)


def _race(yard: Yard, random: Random) -> str:
    """Kill a run somewhere, and have everybody rush at what it has left."""
    yard.let_go() if random.random() < 0.5 else yard.hold()
    first = yard.crew.start(yard.order("run", stops_at=random.randrange(2, 26)))
    eventually(lambda: first.stands or first.has_ended or yard.is_inside(), within=BOUND)
    first.kill()
    first.wait(10)
    racers = random.sample(RACERS, len(RACERS))
    crew = [yard.crew.start(yard.order(verb, takeover=takes)) for verb, takes in racers]
    if random.random() < 0.5:  # a laptop that is put to sleep, and wakes up in the middle of it
        sleeper = random.choice(crew)
        time.sleep(random.uniform(0.5, 2.5))
        sleeper.freeze()
        # So long as the others race; those who follow a command that is held do not end before it.
        end = time.monotonic() + 10
        while time.monotonic() < end and sum(not one.has_ended for one in crew) > 1:
            time.sleep(0.02)
        sleeper.thaw()
    yard.let_go()
    ends = [one.wait(BOUND) for one in crew]
    histories = yard.histories()
    for one, ended in zip(crew, ends, strict=True):
        assert ended.code in (0, 1, 4, 5), f"{one}: {ended}"
        if ended.run and ended.code in (0, 1) and ended.state != "empty":
            said = "rolled_back" if ended.state == "rolled_back" else "confirmed"
            assert histories[ended.run].has(said), f"{one} says {ended}, its journal does not"
    words = _recovered(yard, random)
    wrong = eventually_right(yard)
    assert not wrong, [*wrong, *(f"{one}: {end}" for one, end in zip(crew, ends, strict=True))]
    told = sorted(f"{one.order.verb} {ended.code}" for one, ended in zip(crew, ends, strict=True))
    return f"{', '.join(told)}{words}"


def left_running(yard: Yard) -> tuple[Controller, str]:
    """Return a controller that died while its command goes on, and its run."""
    yard.hold()
    dead = yard.crew.start(yard.order("run"))
    _until_inside(yard, dead)
    run = eventually(yard.unfinished, within=10)[0]
    dead.kill()
    dead.wait(10)
    return dead, run


def insides(yard: Yard, run: str) -> int:
    """Return how often the command of *run* began."""
    log = yard.look()[yard.hosts[0].name].log
    return sum(number for line, number in log.items() if line.startswith(f"inside of {run} "))


def test_todays_run_does_not_join_yesterdays_command(yard: Yard) -> None:
    """It is refused, and so is the lock; a resume attaches to the command, which runs once."""
    _, run = left_running(yard)
    refused = yard.do("run")
    assert refused.code in (4, 5), refused
    eventually(lambda: yard.do("run").code == 5, within=30)
    with pytest.raises(LockHeld, match="still runs"):
        api.lock_release(environment(**yard.words), force=True)
    resumed = yard.crew.start(yard.order("resume"))
    eventually(lambda: resumed.events("stage_started"), within=30)
    yard.let_go()
    assert resumed.wait(BOUND).code == 0
    assert insides(yard, run) == 1
    assert not eventually_right(yard)


def test_yesterdays_command_is_stopped_before_it_is_undone(yard: Yard) -> None:
    """With the children that it has, also those in sessions of their own."""
    _, run = left_running(yard)
    ended = _not_at_work(yard, "rollback")
    assert (ended.code, ended.run, ended.state) == (0, run, "rolled_back"), ended
    assert insides(yard, run) == 1
    assert not eventually_right(yard)


def test_yesterdays_command_without_its_lock_is_not_joined(yard: Yard) -> None:
    """Somebody has deleted the lock: today's run is refused, or ends without doing anything."""
    _, run = left_running(yard)
    shutil.rmtree(yard._sites[0].root / ".deploykit" / "lock")
    today = yard.do("run")
    assert today.code == 5, today
    assert run in today.error
    assert insides(yard, run) == 1
    assert not yard.look()[yard.hosts[0].name].violations
    ended = _not_at_work(yard, "rollback")
    assert (ended.code, ended.run) == (0, run), ended
    assert not eventually_right(yard)


def test_a_lock_that_was_freed_by_force_fences_its_controller(yard: Yard) -> None:
    """It slept through that; whatever it had in mind when it wakes up is not done."""
    yard.let_go()
    before = yard.look()[yard.hosts[0].name]
    # Before its first command, when the plans are written: no command of it runs.
    sleeper = yard.crew.start(yard.order("run", counts_from="run_started", stops_at=3))
    eventually(lambda: sleeper.stands, within=60)
    api.lock_release(environment(**yard.words), force=True)
    sleeper.thaw()
    ended = sleeper.wait(BOUND)
    assert ended.code == 4, ended
    assert "taken over" in ended.error or "force" in ended.error, ended
    now = yard.look()[yard.hosts[0].name]
    assert now.log == before.log, "it went on without its lock"
    unfinished = yard.unfinished()
    if unfinished:
        assert yard.do("run").code == 5
        assert yard.do("rollback").code == 0
    assert not eventually_right(yard, before.current)


def test_two_people_who_free_a_lock_by_hand_are_told_the_truth(yard: Yard) -> None:
    """The second finds it free."""
    made = environment(**yard.words)
    api.lock_acquire(made, "I am looking at something")
    assert yard.do("run").code == 4
    assert api.lock_release(made)
    assert not api.lock_release(made)
    with pytest.raises(DeploykitError):
        api.lock_release(environment(**{**yard.words, "targets": []}))
