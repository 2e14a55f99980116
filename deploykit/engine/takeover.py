"""Holding an environment: for a new run, or for an unfinished one rebuilt from its journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deploykit.engine import guardian, guards, lock
from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.journal import History
from deploykit.engine.pack import pack
from deploykit.engine.scene import Scene, look, read_history, read_reachable
from deploykit.engine.status import all_runs
from deploykit.environment import Environment
from deploykit.errors import DeploykitError, Fenced, JournalError, LockHeld
from deploykit.stage import AnyStage, Pack, RunInfo

__all__ = ["freed", "locked", "rebuilt", "regained", "taken_over", "unfinished_run"]


@contextmanager
def locked(fleet: Fleet, run: str, reason: str, wait: float, events: Events) -> Iterator[int]:
    """
    Hold the lock for a run; free it at the end unless the run is unfinished.

    A run that wrote no journal has touched nothing, so its lock is freed whatever happened.
    """

    def take() -> int:
        try:
            return lock.take(fleet, run, reason)
        except LockHeld as error:
            guards.unfinished(fleet, error)
            raise

    epoch = lock.wait_for(take, wait, events)
    with lock.held(fleet, run, epoch, events):
        try:
            yield epoch
        finally:
            lock.let_go(fleet, run, epoch, events)


@contextmanager
def regained(scene: Scene, fenced: Fenced) -> Iterator[Scene]:
    """
    Hold a run again whose controller a guardian has fenced, so that the rest can be rolled back.

    Raises:
        Fenced: it was another controller, or one has come since: the run is theirs.
        TransportError: a host cannot be reached.
    """
    found, _ = read_reachable(scene.fleet, scene.run.id)
    reason = guardian.fired(found, fenced.host, fenced.epoch)
    if not reason:
        raise fenced
    scene.events.tell("guardian_fired", host=fenced.host, reason=reason)
    first = min(scene.fleet.sessions)
    seen = max(scene.epoch, guardian.last_epoch(found, first))
    with taken_over(scene.fleet, found, "go back", scene.events, seen) as epoch:
        # What was owed by the old epoch stands no more: it would speak of going forward.
        yield replace(scene, epoch=epoch, owed={})


@contextmanager
def taken_over(
    fleet: Fleet, found: History, reason: str, events: Events, seen: int | None = None
) -> Iterator[int]:
    """Take an unfinished run over from its controller, which is fenced; see `lock.take_over`."""
    epoch = lock.take_over(fleet, found.run, reason, seen)
    events.tell("run_taken_over", run=found.run, state=found.state)
    with lock.held(fleet, found.run, epoch, events):
        try:
            yield epoch
        finally:
            lock.let_go(fleet, found.run, epoch, events)


def freed(fleet: Fleet, run: str) -> History:
    """
    Free the lock of a run that left nothing to do; were its controller there, it is fenced.

    Returns:
        What its journal says by now. A controller that was there, and not fenced yet, may have
        written its plans meanwhile: then the lock stays.
    """
    epoch = lock.take_over(fleet, run, "free it")
    found = read_history(fleet, run)
    if not found.must_stay_locked:
        lock.release(fleet, run, epoch)
    return found


def unfinished_run(fleet: Fleet, *, takeover: bool) -> History | None:
    """
    Return the run that must be finished first, if there is one.

    Raises:
        LockHeld: its controller is at work, or the lock was taken by hand.
    """
    for name, found in fleet.each(lock.holder).items():
        if found is None:
            continue
        if found.owner.run.startswith("manual-"):
            raise guards.held_by_hand(fleet.environment.name, found)
        if found.alive and not takeover:
            raise guards.at_work(fleet.environment.name, name, found)
        return read_history(fleet, found.owner.run)
    # Without its lock, which somebody freed by force, it is still the one that left things undone.
    return next((run for run in all_runs(fleet) if run.unfinished), None)


def rebuilt(
    fleet: Fleet, found: History, epoch: int, events: Events, interrupts: Interrupts
) -> Scene:
    """Return the scene of a run as its journal tells it; of deploy.py only the hosts are used."""
    first = found.opening
    if first is None:
        raise JournalError(f"run {found.run} has no opening record")
    info = RunInfo(
        id=found.run,
        environment=first["environment"],
        app=first["app"],
        release=first["release"],
        content=first["content"],
        by=first["by"],
        commit=first["commit"],
    )
    stages = found.stages()
    return Scene(
        fleet=fleet,
        run=info,
        epoch=epoch,
        stages=stages,
        packs=_packs_again(fleet.environment, stages, info, events),
        worlds=look(fleet, need_env=False),
        events=events.bind(run=found.run, release=info.release),
        interrupts=interrupts,
    )


def _packs_again(
    environment: Environment, stages: Mapping[str, AnyStage], info: RunInfo, events: Events
) -> Mapping[str, Pack]:
    """Pack the source again, without building; of use only if it is what the run packed."""
    project = environment.project or Path.cwd()
    try:
        packed = pack(project, list(stages.values()), events, build=False)
    except DeploykitError:
        return {}  # the source is not here; an upload that is complete does not need it
    return packed.packs if packed.content == info.content else {}
