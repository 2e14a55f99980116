"""`deploykit rollback` of finished runs: each undone, newest first, as a run of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex

from deploykit.engine import guards, lock
from deploykit.engine.ending import ended_back
from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet, attempt_each
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.journal import History
from deploykit.engine.outcome import RunResult
from deploykit.engine.rollback import go_back
from deploykit.engine.scene import Scene, look, of_run, opening, read_history
from deploykit.errors import DeploykitError, TransportError
from deploykit.stage import AnyStage, RunInfo

__all__ = ["undo_runs"]


def undo_runs(
    fleet: Fleet,
    chosen: Sequence[History] | History,
    events: Events,
    interrupts: Interrupts,
    began: float,
) -> RunResult:
    """
    Undo runs, newest first.

    Args:
        fleet: the connected hosts.
        chosen: the runs to undo; or the unfinished run that was undoing some.
        events: bound to the environment.
        interrupts: whether somebody asked to stop.
        began: `time.monotonic` of the beginning.

    Returns:
        The result of the last one undone: exit code 0 if all are.
    """
    if isinstance(chosen, History):
        own, targets = chosen, list((chosen.opening or {})["undoes"])
    else:
        own, targets = None, [run.run for run in chosen]
        for each in chosen:
            of_run(fleet, each)  # refuses what lacks a host, before anything is touched
    run = own.run if own else _fresh_id()
    epoch = (lock.take if own is None else lock.take_over)(fleet, run, "rollback")
    events = events.bind(run=run)
    with lock.held(fleet, run, epoch, events), _until_done(fleet, run, epoch, events):
        if own is None:
            guards.newest(fleet, targets[0])
        outer = _scene(fleet, _info(fleet, run, targets[-1]), epoch, {}, events, interrupts)
        if own is None:
            record = opening(outer, "rollback", fleet.sessions, undoes=targets)
            fleet.each(lambda session: outer.write_all(session.name, [record]))
        result: RunResult | None = None
        for target in targets:
            result = _undo(fleet, target, epoch, events, interrupts, began)
            if not result.ok:
                _write(outer, "back", "stuck", reason=str(result.error))
                return result
        assert result is not None  # noqa: S101  # there is at least one target
        untold = _write(outer, "confirmed", "sealed")
        return result if untold is None else replace(result, exit_code=3, error=untold)


def _write(outer: Scene, *kinds: str, **keys: str) -> DeploykitError | None:
    """
    Write records of *kinds* on every host that can be reached.

    Returns:
        Why it is not written everywhere, if so; the rollback is then to be finished by another try.
    """
    lines = [{"kind": kind, **keys} for kind in kinds]
    work = {host: partial(outer.write_all, host, lines) for host in outer.fleet.sessions}
    _, gone = attempt_each(work)
    for host, error in gone.items():
        if not isinstance(error, TransportError):
            raise error
        return DeploykitError(
            f"{host} could not be told how the rollback ended: {error.what}",
            state="the hosts that can be reached are as wanted",
            then=f"when it is back: deploykit rollback {outer.run.environment}",
        )
    return None


def _undo(
    fleet: Fleet, target: str, epoch: int, events: Events, interrupts: Interrupts, began: float
) -> RunResult:
    found = read_history(fleet, target)
    fleet = of_run(fleet, found)
    first = found.opening or {}
    info = RunInfo(
        id=target,
        environment=first["environment"],
        app=first["app"],
        release=first["release"],
        content=first["content"],
        by=lock.whoami(),
        commit=first["commit"],
    )
    scene = _scene(fleet, info, epoch, found.stages(), events, interrupts)
    failed: DeploykitError | None = None
    asked = DeploykitError("a person asked for it")
    if found.state != "rolled_back":
        try:
            go_back(scene, asked.what, rejected=True)
        except DeploykitError as error:
            failed = error
    return ended_back(scene, asked, failed, began, asked=True)


def _scene(
    fleet: Fleet,
    info: RunInfo,
    epoch: int,
    stages: Mapping[str, AnyStage],
    events: Events,
    interrupts: Interrupts,
) -> Scene:
    return Scene(
        fleet=fleet,
        run=info,
        epoch=epoch,
        stages=stages,
        packs={},
        worlds=look(fleet, need_env=False),
        events=events,
        interrupts=interrupts,
    )


def _info(fleet: Fleet, run: str, oldest: str) -> RunInfo:
    environment = fleet.environment
    return RunInfo(
        id=run,
        environment=environment.name,
        app=environment.pipeline.app,
        release=f"before {oldest}",
        by=lock.whoami(),
    )


@contextmanager
def _until_done(fleet: Fleet, run: str, epoch: int, events: Events) -> Iterator[None]:
    """Free the lock at the end, unless the rollback is left for another try."""
    try:
        yield
    finally:
        lock.let_go(fleet, run, epoch, events)


def _fresh_id() -> str:
    return f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}-{token_hex(4)}"
