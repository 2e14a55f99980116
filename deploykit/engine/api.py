"""What the command line and scripts call: one function a verb."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from deploykit.engine import guards, lock
from deploykit.engine.difference import differences
from deploykit.engine.direction import (
    back_to_the_end,
    carry_on,
    forward_to_the_end,
    nothing_written,
)
from deploykit.engine.ending import ended_already
from deploykit.engine.events import Events, Listener
from deploykit.engine.fleet import Fleet, reached
from deploykit.engine.intact import tell_altered
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.outcome import LockOwner, PlannedStage, PlanResult, RunResult
from deploykit.engine.pack import Packed, copied, pack
from deploykit.engine.runner import plan_all, write_ahead
from deploykit.engine.scene import Scene, look, of_run
from deploykit.engine.status import history, is_done_deploy, releases, runs, status
from deploykit.engine.takeover import freed, locked, rebuilt, taken_over, unfinished_run
from deploykit.engine.undoing import undo_runs
from deploykit.environment import Environment
from deploykit.errors import ConfigurationError, DeploykitError
from deploykit.stage import RunInfo

__all__ = [
    "connected",
    "history",
    "lock_acquire",
    "lock_release",
    "lock_status",
    "plan",
    "releases",
    "resume",
    "rollback",
    "run",
    "run_info",
    "runs",
    "status",
]


def run(
    environment: Environment,
    *,
    again: bool = False,
    without: Iterable[str] = (),
    lock_wait: float = 0.0,
    action: str = "deploy",
    listeners: Sequence[Listener] = (),
) -> RunResult:
    """
    Carry out the pipeline of *environment*; undo everything if anything fails.

    Args:
        environment: bound to its name.
        again: release content that was rejected before, or a commit older than the live one.
        without: labels of hosts to leave out.
        lock_wait: seconds to wait for another run's lock.
        action: what the journal calls it; only a `deploy` is what `rollback` goes back from.
        listeners: told of every event.

    Raises:
        DeploykitError: nothing was touched. Later failures are in the result.
    """
    began = time.monotonic()
    events = _events(environment, listeners)
    project = environment.project or Path.cwd()
    with Interrupts(environment.name) as interrupts, ExitStack() as stack:
        with _nothing_touched(), interrupts.at_once():
            packed = pack(project, environment.pipeline.stages, events)
            fleet = stack.enter_context(
                reached(environment, events, without, lambda: interrupts.asked)
            )
        info = run_info(environment, packed)
        events = events.bind(run=info.id, release=info.release)
        epoch = stack.enter_context(locked(fleet, info.id, "run", lock_wait, events))
        scene = Scene(
            fleet=fleet,
            run=info,
            epoch=epoch,
            stages=environment.pipeline.by_name,
            packs=packed.packs,
            worlds=look(fleet),
            events=events,
            interrupts=interrupts,
        )
        with _nothing_touched():
            guards.left_open(scene)
            guards.content(scene, project, again=again)
            plans = plan_all(scene)
        events.tell("run_started", by=info.by, hosts=list(fleet.sessions))
        try:
            write_ahead(scene, plans, action)
        except DeploykitError as error:
            if nothing_written(scene, error):
                raise
            return back_to_the_end(scene, error, False, began)
        return forward_to_the_end(scene, plans, set(), began)


def resume(
    environment: Environment,
    *,
    takeover: bool = False,
    without: Iterable[str] = (),
    listeners: Sequence[Listener] = (),
) -> RunResult | None:
    """
    Finish the unfinished run of *environment*, in the direction it has, from the journal alone.

    Args:
        environment: bound to its name; only its hosts are used.
        takeover: do so even though its controller seems to be at work.
        without: labels of hosts that the run left out, and that cannot be reached now.
        listeners: told of every event.

    Returns:
        How it ended; None if there is nothing to resume.

    Raises:
        LockHeld: its controller is at work, and *takeover* is false.
    """
    began = time.monotonic()
    events = _events(environment, listeners)
    with (
        Interrupts(environment.name) as interrupts,
        reached(environment, events, without, lambda: interrupts.asked) as fleet,
    ):
        unfinished = unfinished_run(fleet, takeover=takeover)
        if unfinished is None:
            return None
        if unfinished.opening is None or unfinished.state == "empty":
            unfinished = freed(fleet, unfinished.run)  # it touched nothing
            if unfinished.opening is None or not unfinished.unfinished:
                return None
        if unfinished.opening["action"] == "rollback":
            return undo_runs(fleet, unfinished, events, interrupts, began)
        own = of_run(fleet, unfinished)
        with taken_over(own, unfinished, "resume", events) as epoch:
            scene = rebuilt(own, unfinished, epoch, events, interrupts)
            _tell_edits(scene)
            return carry_on(scene, began)


def rollback(
    environment: Environment,
    release: str | None = None,
    *,
    accept_loss: bool = False,
    takeover: bool = False,
    without: Iterable[str] = (),
    listeners: Sequence[Listener] = (),
) -> RunResult:
    """
    Undo the unfinished run; else the newest run, or all runs down to *release*, newest first.

    Args:
        environment: bound to its name; only its hosts are used.
        release: the release to go back to; the one before the live one by default.
        accept_loss: go on although a sealed schema stands between.
        takeover: do so even though the unfinished run's controller seems to be at work.
        without: labels of hosts that the run left out, and that cannot be reached now.
        listeners: told of every event.

    Raises:
        Refused: a sealed schema stands between, or there is nothing to go back to.
        LockHeld: somebody is at work.
    """
    began = time.monotonic()
    events = _events(environment, listeners)
    with (
        Interrupts(environment.name) as interrupts,
        reached(environment, events, without, lambda: interrupts.asked) as fleet,
    ):
        unfinished = unfinished_run(fleet, takeover=takeover)
        if unfinished is not None and unfinished.state in ("empty", "confirmed", "sealed"):
            now = freed(fleet, unfinished.run)  # only its lock was left
            if not now.must_stay_locked and not is_done_deploy(now):
                return ended_already(environment.name, now, began)
            unfinished = now if now.must_stay_locked else None
        if unfinished is None:
            chosen = guards.undoable(fleet, release, accept_loss=accept_loss)
            tell_altered(fleet, chosen, events)
            return undo_runs(fleet, chosen, events, interrupts, began)
        if unfinished.opening is not None and unfinished.opening["action"] == "rollback":
            return undo_runs(fleet, unfinished, events, interrupts, began)
        own = of_run(fleet, unfinished)
        with taken_over(own, unfinished, "rollback", events) as epoch:
            guards.newest(own, unfinished.run)
            scene = rebuilt(own, unfinished, epoch, events, interrupts)
            _tell_edits(scene)
            asked = DeploykitError("a person asked for it")
            return back_to_the_end(scene, asked, True, began, asked=True)


def plan(
    environment: Environment, *, build: bool = True, listeners: Sequence[Listener] = ()
) -> PlanResult:
    """
    Say what a run would do; asks the hosts real questions and changes nothing.

    Args:
        environment: bound to its name.
        build: run what `run` builds locally, in a temporary copy of the project.
        listeners: told of every event.
    """
    events = _events(environment, listeners)
    project = environment.project or Path.cwd()
    stages = environment.pipeline.stages
    builds = [stage.name for stage in stages if getattr(stage, "builds", False)]
    with ExitStack() as stack:
        source = stack.enter_context(copied(project)) if build and builds else project
        packed = pack(source, stages, events, build=build)
        fleet = stack.enter_context(reached(environment, events))
        info = run_info(environment, packed)
        scene = Scene(
            fleet=fleet,
            run=info,
            epoch=0,
            stages=environment.pipeline.by_name,
            packs=packed.packs,
            worlds=look(fleet),
            events=events,
            interrupts=Interrupts(),
        )
        plans = plan_all(scene)
        notes = guards.notes(scene, project, plans)
        if builds and not build:
            notes = (*notes, f"not built: {', '.join(builds)}; what they make is not in this plan")
        return PlanResult(
            environment=environment.name,
            release=info.release,
            content=info.content,
            stages=tuple(_planned(name, plans) for name in scene.stages),
            lock=lock_owner(fleet),
            notes=notes,
        )


def lock_status(environment: Environment) -> LockOwner | None:
    """Return who holds the lock of *environment*, if anybody."""
    with reached(environment, _events(environment, ())) as fleet:
        return lock_owner(fleet)


def lock_acquire(environment: Environment, reason: str) -> str:
    """
    Take the lock by hand, until `lock_release`.

    Returns:
        The id under which it is held.

    Raises:
        LockHeld: somebody has it.
    """
    with reached(environment, _events(environment, ())) as fleet:
        held = f"manual-{token_hex(4)}"
        lock.take(fleet, held, reason)
        return held


def lock_release(environment: Environment, *, force: bool = False) -> str:
    """
    Free a lock taken by hand; with *force* any lock, unless a command still runs.

    Returns:
        The id under which it was held; empty if it was free.

    Raises:
        LockHeld: it belongs to a run, and *force* is false, or a command of it runs.
    """
    with reached(environment, _events(environment, ())) as fleet:
        return guards.free(fleet, force=force)


@contextmanager
def connected(environment: Environment, listeners: Sequence[Listener] = ()) -> Iterator[Fleet]:
    """Give the connected hosts of *environment*, for verbs that look or bring single files."""
    with reached(environment, _events(environment, listeners)) as fleet:
        yield fleet


def lock_owner(fleet: Fleet) -> LockOwner | None:
    """Return who holds the lock on any host."""
    holders = fleet.each(lock.holder)
    return next((held.owner for held in holders.values() if held), None)


def _tell_edits(scene: Scene) -> None:
    """Show what `deploy.py` says otherwise by now than the run, which is not bent by that."""
    lines = differences(scene.stages, scene.fleet.environment.pipeline.by_name)
    if lines:
        scene.events.tell("declaration_differs", differences=list(lines))


@contextmanager
def _nothing_touched() -> Iterator[None]:
    """Say of an ordinary failure that nothing was touched yet: exit code 2, not 1."""
    try:
        yield
    except DeploykitError as error:
        if error.exit_code == DeploykitError.exit_code:
            error.exit_code = ConfigurationError.exit_code
        error.state = error.state or "nothing was touched"
        raise


def _events(environment: Environment, listeners: Sequence[Listener]) -> Events:
    return Events(listeners).bind(environment=environment.name)


def run_info(environment: Environment, packed: Packed) -> RunInfo:
    """Return what is fixed about a new run: its id, which is its release's too, and its source."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    ident = f"{stamp}-{token_hex(4)}"
    return RunInfo(
        id=ident,
        environment=environment.name,
        app=environment.pipeline.app,
        release=ident,
        content=packed.content,
        by=lock.whoami(),
        commit=packed.commit,
    )


def _planned(name: str, plans: Mapping[tuple[str, str], object]) -> PlannedStage:
    own = {host: plan for (stage, host), plan in plans.items() if stage == name}
    return PlannedStage(name, own, {host: _described(plan) for host, plan in own.items()})


def _described(plan: object) -> tuple[str, ...]:
    describe = getattr(plan, "describe", None)
    return tuple(describe()) if describe else (str(plan),)
