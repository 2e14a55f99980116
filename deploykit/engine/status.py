"""Looking at an environment: what is running, which runs there were, which releases there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from deploykit.engine import copies, guardian, lock
from deploykit.engine.events import Events, Listener
from deploykit.engine.fleet import Fleet, each, reached
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.journal import History, Record
from deploykit.engine.outcome import HostStatus, RunSummary, StatusResult
from deploykit.engine.scene import Scene, World, look
from deploykit.engine.sealing import open_until
from deploykit.engine.session import Session
from deploykit.environment import Environment
from deploykit.stage import Measure, RunInfo

__all__ = ["all_runs", "history", "is_done_deploy", "releases", "runs", "status"]


def status(environment: Environment, *, listeners: Sequence[Listener] = ()) -> StatusResult:
    """Measure *environment*: what is wanted by its last finished run beside what is."""
    events = Events(listeners).bind(environment=environment.name)
    with reached(environment, events) as fleet:
        # All at once: none of them waits for what another has found.
        asked: dict[str, Callable[[], Any]] = {
            "runs": partial(all_runs, fleet),
            "worlds": partial(look, fleet, need_env=False),
            "holders": partial(fleet.each, lock.holder),
            "parts": partial(fleet.each, _parts),
        }
        answers = each(asked)
        found: list[History] = answers["runs"]
        worlds: dict[str, World] = answers["worlds"]
        holders: dict[str, lock.Holder | None] = answers["holders"]
        parts: dict[str, list[str]] = answers["parts"]
        unfinished = next((run for run in found if run.unfinished), None)
        live = live_run(found)
        table = _measured(fleet, live, worlds, events) if live else {}
        owner = next((held.owner for held in holders.values() if held), None)
        undoable = [run for run in found if is_done_deploy(run)]
        until = open_until(undoable[0]) if undoable else None
        return StatusResult(
            environment=environment.name,
            hosts=tuple(
                HostStatus(
                    host=name,
                    release=world.current,
                    state=line.state if (line := world.ledger.find(world.current)) else "",
                    measures=table.get(name, ()),
                    ledger=world.ledger,
                )
                for name, world in worlds.items()
            ),
            lock=owner,
            unfinished_run=unfinished.run if unfinished else "",
            unfinished_state=unfinished.state if unfinished else "",
            guardian=guardian.told(unfinished) if unfinished else "",
            rung=_rung(undoable[0]) if undoable else None,
            until=until.strftime("%Y-%m-%dT%H:%M:%SZ") if until else "",
            leftovers=() if unfinished else _told(parts),
        )


def releases(environment: Environment) -> tuple[HostStatus, ...]:
    """Return the releases of every host, in the order in which they were begun."""
    with reached(environment, Events().bind(environment=environment.name)) as fleet:
        worlds = look(fleet, need_env=False)
    return tuple(
        HostStatus(
            host=name,
            release=world.current,
            state=line.state if (line := world.ledger.find(world.current)) else "",
            measures=(),
            ledger=world.ledger,
        )
        for name, world in worlds.items()
    )


def runs(environment: Environment, *, copied: bool = False) -> tuple[RunSummary, ...]:
    """
    Return all runs that wrote a journal, newest first.

    Args:
        environment: bound to its name.
        copied: as the copies on this machine have them, without asking any host.
    """
    if copied:
        return tuple(_summary(run) for run in copies.kept(environment.name))
    with reached(environment, Events().bind(environment=environment.name)) as fleet:
        return tuple(_summary(run) for run in all_runs(fleet))


def history(environment: Environment, run: str, *, copied: bool = False) -> tuple[Record, ...]:
    """
    Return the records of *run* from every host, in their order there.

    Args:
        environment: bound to its name.
        run: its id, or the beginning of it.
        copied: as the copies on this machine have it, without asking any host.
    """
    if copied:
        return _records(copies.kept(environment.name), run)
    with reached(environment, Events().bind(environment=environment.name)) as fleet:
        return _records(all_runs(fleet), run)


def _records(listed: Sequence[History], run: str) -> tuple[Record, ...]:
    found = next((found for found in listed if found.run.startswith(run)), None)
    return tuple(r for records in found.records.values() for r in records) if found else ()


def all_runs(fleet: Fleet) -> list[History]:
    """Return every run that wrote a journal on some host, newest first. One query a host."""
    by_run: dict[str, dict[str, tuple[Record, ...]]] = {}
    for host, records in fleet.each(_journals).items():
        for run, own in records.items():
            by_run.setdefault(run, {})[host] = tuple(own)
    found = [History(run, by_host) for run, by_host in by_run.items()]
    return sorted((run for run in found if run.opening is not None), key=_epoch, reverse=True)


def live_run(found: Sequence[History]) -> History | None:
    """Return the run whose release should be live: the newest that is confirmed."""
    return next((run for run in found if is_done_deploy(run)), None)


def is_done_deploy(run: History) -> bool:
    """Return whether *run* is a deployment that was confirmed, so that a rollback can undo it."""
    opening = run.opening or {}
    return opening.get("action") == "deploy" and run.state in ("confirmed", "sealed")


def _epoch(run: History) -> int:
    """Order runs by the epoch that the hosts issued: clocks and ids say nothing."""
    return int((run.opening or {}).get("epoch", 0))


def _journals(session: Session) -> dict[str, list[Record]]:
    """Read all journals of a host at once, each record under its run."""
    by_run: dict[str, list[Record]] = {}
    for record in session.journals():
        by_run.setdefault(str(record.get("run", "")), []).append(record)
    by_run.pop("", None)
    return by_run


def _measured(
    fleet: Fleet, run: History, worlds: Mapping[str, World], events: Events
) -> dict[str, tuple[Measure, ...]]:
    """Measure what *run* meant to leave, with its stages as its journal tells them."""
    first = run.opening or {}
    info = RunInfo(
        id=run.run,
        environment=first["environment"],
        app=first["app"],
        release=first["release"],
        content=first["content"],
    )
    scene = Scene(
        fleet=fleet,
        run=info,
        epoch=0,
        stages=run.stages(),
        packs={},
        worlds=worlds,
        events=events,
        interrupts=Interrupts(),
    )
    plans = {unit: plan for unit, plan in run.plans().items() if unit[1] in fleet.sessions}
    return scene.measure(plans, undone=False)


def _summary(run: History) -> RunSummary:
    first = run.opening or {}
    turned = ("back", "needs_rollback")
    reasons = [str(record.get("reason", "")) for kind in turned for _, record in run.all(kind)]
    return RunSummary(
        run=run.run,
        action=str(first.get("action", "")),
        state=run.state,
        release=str(first.get("release", "")),
        by=str(first.get("by", "")),
        at=str(first.get("at", "")),
        reason=reasons[0] if reasons else "",
    )


def _rung(run: History) -> int:
    rungs = [int(getattr(plan, "rung", 1)) for plan in run.plans().values()]
    return max(rungs, default=1)


def _parts(session: Session) -> list[str]:
    """Return the half-made releases of a host; without an unfinished run they are left over."""
    return [name for name in session.names(session.layout.releases) if name.startswith(".")]


def _told(parts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(f"{host}: releases/{name}" for host, names in parts.items() for name in names)
