"""The lock: one at a time, with its owner inside, and never lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from deploykit.engine import api, lock
from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet
from deploykit.errors import LockHeld, Refused
from deploykit.stages import Shell
from tests.engine.conftest import Site
from tests.farm import eventually

RUN = "20261104T101512Z-0badcafe"


def test_many_at_once_one_proceeds(site: Site) -> None:
    """The others end with 4 and have touched nothing; nobody takes a beginner for a dead one."""
    once = Shell("once", do='echo in >>"$DEPLOYKIT_ROOT/log"; sleep 1')

    def run(_: int) -> int:
        try:
            return api.run(site.environment(once)).exit_code
        except LockHeld as error:
            return error.exit_code

    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(run, range(6)))
    assert codes.count(0) == len(site.lines("log")) >= 1
    assert set(codes) == {0, 4}
    assert not site.is_locked()


def test_waiting_for_a_lock(site: Site) -> None:
    """It is told why, and the run goes on as soon as the lock is free."""
    held = api.lock_acquire(site.environment(), "the database moves")
    with ThreadPoolExecutor() as pool:
        run = pool.submit(
            api.run,
            site.environment(Shell("x", do="true")),
            lock_wait=20,
            listeners=[site.told.append],
        )
        eventually(lambda: site.events("lock_waiting"))
        assert api.lock_release(site.environment()) == held
        assert run.result().ok
    assert "the database moves" in site.events("lock_waiting")[0]["reason"]


def test_a_lock_by_hand_is_nobody_s_run(site: Site) -> None:
    """No other verb frees it; a second one is refused; releasing twice is fine."""
    shop = site.environment()
    api.lock_acquire(shop, "because")
    for verb in (api.resume, api.rollback):
        with pytest.raises(LockHeld, match="because") as held:
            verb(shop)
        assert "lock release" in held.value.then
    with pytest.raises(LockHeld, match="because"):
        api.lock_acquire(shop, "me too")
    assert api.lock_release(shop).startswith("manual-")
    assert api.lock_release(shop) == ""


def test_a_run_s_lock_is_freed_only_by_force_and_not_under_a_command(site: Site) -> None:
    """The journal says who did it."""
    shop = site.declare("Shell('slow', do='touch began; sleep 433.1')")
    site.killed("run", "stage_started")
    with pytest.raises(LockHeld, match="belongs to run"):
        api.lock_release(shop)
    assert api.lock_release(shop, force=True)
    journal = next((site.root / ".deploykit/runs").glob("*/journal.jsonl")).read_text()
    assert "lock_forced" in journal
    # Without its lock it is unfinished all the same, and nothing new may begin on top of it.
    with pytest.raises(Refused, match="is unfinished"):
        shop.run()
    assert api.rollback(shop).exit_code == 0
    with site.controller("run", "never", "1") as controller:
        eventually((site.root / "began").exists)
        with pytest.raises(LockHeld, match="still runs"):
            api.lock_release(shop, force=True)
        controller.kill()
    assert api.rollback(shop).exit_code == 0


def test_an_owner_is_seen_while_he_is_there(site: Site) -> None:
    """Connected, and gone when his connection ends; before it, he is new and not gone."""

    def look(fleet: Fleet) -> list[tuple[bool, bool]]:
        session = fleet.sessions["one"]
        session.prepare()
        assert lock.holder(session) is None
        epoch = lock.take(fleet, RUN, "run")
        states = []

        def state() -> tuple[bool, bool]:
            found = lock.holder(session)
            assert found is not None
            return (found.alive, found.new)

        states.append(state())
        with lock.held(fleet, RUN, epoch, Events()):
            eventually(lambda: state() == (True, False))
        states.append(state())
        lock.release(fleet, RUN, epoch)
        return states

    assert site.look(look) == [(False, True), (False, False)]


def test_each_taking_has_a_newer_epoch(site: Site) -> None:
    """The numbers by which runs are ordered and old controllers are refused only ever grow."""

    def look(fleet: Fleet) -> list[int]:
        fleet.sessions["one"].prepare()
        return [lock.take(fleet, RUN, "run") for _ in range(3)]

    assert site.look(look) == [1, 2, 3]
