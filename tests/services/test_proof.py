"""The judgement whether a service runs a release, without any host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploykit.publishing import Mark
from deploykit.services.facts import Facts, Ground, Process
from deploykit.services.proof import judge, running_release

GROUND = Ground(roots=("/srv/shop", "/data/shop"), boot="b", link="new", published="new", tick=1000)
MARK = Mark("b", 1000)
CURRENT = ("/srv/shop/current", "")
OLD, NEW = "/srv/shop/releases/old", "/srv/shop/releases/new"


def facts(*processes: Process, places: tuple[str, ...] = CURRENT, **more: object) -> Facts:
    """Return an active service whose first process is the main one."""
    found = Facts(
        "active", mains=(processes[0].pid,), places=places, processes=processes, ground=GROUND
    )
    return replace(found, **more)  # type: ignore[arg-type]  # fields of the dataclass, by name


def outcome(of: Facts, *, reloads: bool = False) -> str:
    """Return the outcome of the claim that *of* runs the new release."""
    return judge(of, "new", MARK, reloads=reloads).outcome


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        (Process(7, 1, 1001, cwd=NEW), "proven"),
        (Process(7, 1, 1001, cwd="/data/shop/releases/new/web"), "proven"),
        (Process(7, 1, 1001, cwd="/", exe=f"{NEW}/.venv/bin/app"), "proven"),
        (Process(7, 1, 1001, cwd="/", args=(f"--dir={NEW}",)), "proven"),
        (Process(7, 1, 1001, cwd=OLD), "no"),
        (Process(7, 1, 1001, cwd=f"{OLD} (deleted)"), "no"),
        (Process(7, 1, 1001, cwd=NEW, args=(f"{OLD}/app.py",)), "no"),
        (Process(7, 1, 1001, cwd="/srv/shop/releases/new2"), "no"),
        (Process(7, 1, 999), "no"),
        (Process(7, 1, 1000), "proven"),
        (Process(7, 1, 1001), "proven"),
        (Process(7, 1, 1001, cwd="/"), "proven"),
    ],
)
def test_the_main_process(main: Process, expected: str) -> None:
    """Its folder, program or arguments prove it, else its age with the unit's own words."""
    assert outcome(facts(main)) == expected


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (("/srv/shop/current/web", ""), "proven"),
        (("!/data/shop/current", ""), "proven"),
        (("", "{ path=/bin/python3 ; argv[]=/bin/python3 /srv/shop/current/a.py ; }"), "proven"),
        (("", "{ path=/srv/shop/current/bin/app ; argv[]=app ; }"), "proven"),
        (("/srv/shop/current2", ""), "unknown"),
        (("/backup/srv/shop/current", ""), "unknown"),
        (("", "{ path=/usr/local/bin/shop ; }"), "unknown"),
    ],
)
def test_another_users_process_needs_the_units_word(places: tuple[str, ...], expected: str) -> None:
    """A young process proves nothing unless the unit says that it runs in `current`."""
    assert outcome(facts(Process(7, 1, 1001), places=places)) == expected


def test_supervisors_programs_say_it_by_their_arguments() -> None:
    """Where no unit can be read, the process's own command line may name `current`."""
    main = Process(7, 1, 1001, args=("/srv/shop/current/.venv/bin/gunicorn",))
    assert outcome(facts(main, places=())) == "proven"


def test_all_processes_count() -> None:
    """One process of another release disproves it; one that is merely old leaves it open."""
    main = Process(7, 1, 1001, cwd=NEW)
    assert outcome(facts(main, Process(8, 7, 1002, cwd=NEW))) == "proven"
    assert outcome(facts(main, Process(8, 1, 900, cwd=OLD))) == "no"
    assert outcome(facts(main, Process(8, 1, 900))) == "unknown"


def test_a_reload_is_judged_by_its_workers() -> None:
    """The main process may be old, if it was told to follow the link; no worker may."""
    lost = Process(7, 1, 500, cwd=OLD)
    assert outcome(facts(lost, Process(8, 7, 1001)), reloads=True) == "unknown"
    master = replace(lost, args=("--chdir=/srv/shop/current",))
    assert outcome(facts(master, Process(8, 7, 1001)), reloads=True) == "proven"
    assert outcome(facts(master, Process(8, 7, 1001, cwd=NEW)), reloads=True) == "proven"
    assert outcome(facts(master, Process(8, 7, 1001, cwd=OLD)), reloads=True) == "no"
    old_one = (Process(8, 7, 1001), Process(9, 7, 999))
    assert outcome(facts(master, *old_one), reloads=True) == "no"
    assert outcome(facts(master), reloads=True) == "no"


def test_a_restart_is_not_proved_by_workers() -> None:
    """Young workers of an old main process are what a crash leaves, not a restart."""
    assert outcome(facts(Process(7, 1, 500), Process(8, 7, 1001))) == "no"


@pytest.mark.parametrize(
    ("state", "expected"),
    [("stopped", "dead"), ("failed", "dead"), ("starting", "no"), ("unknown", "no")],
)
def test_a_service_that_is_not_up(state: str, expected: str) -> None:
    """What is down for good ends the waiting; what may come up does not."""
    assert outcome(facts(Process(7, 1, 1001, cwd=NEW), state=state)) == expected


def test_after_a_reboot_every_process_is_young() -> None:
    """Ticks of two boots are never compared."""
    ground = replace(GROUND, boot="another")
    assert outcome(facts(Process(7, 1, 3), ground=ground)) == "proven"


def test_no_process_at_all() -> None:
    """A timer has none to prove; a service without one proves nothing; a check's word counts."""
    bare = Facts("active", ground=GROUND)
    assert outcome(bare) == "unknown"
    assert outcome(replace(bare, processless=True)) == "proven"
    assert outcome(replace(bare, checked=True)) == "proven"


@pytest.mark.parametrize(
    ("main", "ground", "expected"),
    [
        (Process(7, 1, 5, cwd=OLD), GROUND, "old"),
        (Process(7, 1, 1000), GROUND, "new"),
        (Process(7, 1, 999), GROUND, ""),
        (Process(7, 1, 999), replace(GROUND, published="old", moved=900), "new"),
        (Process(7, 1, 999), replace(GROUND, published="old", moved=1100), ""),
        (Process(7, 1, 999), replace(GROUND, tick=0), "new"),
    ],
)
def test_which_release_runs(main: Process, ground: Ground, expected: str) -> None:
    """By its folder, else by the link if the process began after that last moved."""
    assert running_release(facts(main, ground=ground)) == expected
