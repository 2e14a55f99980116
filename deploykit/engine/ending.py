"""How a run ends: measured, told, and turned into an exit code."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from deploykit.engine.journal import History, State
from deploykit.engine.outcome import RunResult
from deploykit.engine.scene import Scene, read_reachable
from deploykit.errors import DeploykitError, Fenced, Interrupted, Refused
from deploykit.notify import notify
from deploykit.stage import Measure

__all__ = ["ended_already", "ended_back", "ended_elsewhere", "ended_forward"]


def ended_already(environment: str, run: History, began: float) -> RunResult:
    """Return the result of a rollback that found nothing to undo but a lock to free."""
    touched = "nothing" if run.state == "empty" else "all it was to"
    return RunResult(
        environment=environment,
        run=run.run,
        release="",
        state=run.state,
        exit_code=0,
        error=None,
        table={},
        warnings=(f"run {run.run} had touched {touched}; only its lock was left, and is free now",),
        seconds=round(time.monotonic() - began, 3),
    )


def ended_elsewhere(scene: Scene, error: Fenced, began: float) -> RunResult:
    """Return the result of a controller that another one has taken the run over from."""
    try:
        state = scene.histories().state
    except DeploykitError:  # it is theirs, whatever it is
        state = "forward"
    return _result(scene, state, error.exit_code, error, {}, began)


def ended_forward(
    scene: Scene,
    table: Mapping[str, tuple[Measure, ...]],
    finished: tuple[State, tuple[str, ...]],
    began: float,
) -> RunResult:
    """Return the result of a confirmed run, with what finishing it came to: state and warnings."""
    state, warnings = finished
    return _result(scene, state, 0, None, table, began, warnings)


def ended_back(
    scene: Scene,
    error: DeploykitError,
    failed: DeploykitError | None,
    began: float,
    *,
    asked: bool = False,
) -> RunResult:
    """
    Return the result of a run that went back.

    Args:
        scene: of the run.
        error: why it went back.
        failed: what kept it from being undone; None if it was undone.
        began: `time.monotonic` of the beginning.
        asked: a person asked for the rollback: it is a success when it succeeds.
    """
    result = _measured_back(scene, error, failed, began, asked=asked)
    return replace(result, warnings=_tell_people(scene, result, error))


def _measured_back(
    scene: Scene,
    error: DeploykitError,
    failed: DeploykitError | None,
    began: float,
    *,
    asked: bool,
) -> RunResult:
    """Measure what the hosts are like now, and let the exit code come from that."""
    state: State = "back"
    try:
        found, _ = read_reachable(scene.fleet, scene.run.id)
        state = found.state
        table = scene.measure(found.plans(), undone=True)
    except DeploykitError as unmeasured:
        # What cannot be measured is not as before, as far as anybody knows.
        return _result(scene, state, 3, failed or unmeasured, {}, began)
    right = all(measure.ok for measures in table.values() for measure in measures)
    if failed is not None or not right:
        reason = failed or _not_as_before(scene, table, error)
        return _result(scene, found.state, 3, reason, table, began)
    code = 0 if asked else _code(error)
    if not asked:
        error.state = error.state or "everything is undone; the hosts are as before"
    return _result(scene, found.state, code, None if asked else error, table, began)


def _tell_people(scene: Scene, result: RunResult, why: DeploykitError) -> tuple[str, ...]:
    """Notify those whom the environment names; return what could not be told."""
    news = {
        "event": f"run_{result.state}",
        "text": f"{scene.run.app} {result.environment}: run {result.run} is {result.state}: "
        f"{why.what}",
        "environment": result.environment,
        "run": result.run,
        "release": result.release,
        "state": result.state,
        "exit_code": result.exit_code,
        "error": str(result.error or why),
    }
    fleet = scene.fleet
    first = next(iter(fleet.sessions.values()))
    return notify(
        fleet.environment.notify,
        scene.events.scrubber.any(news),
        partial(fleet.resolver.secret, host=first),
        scene.events.tell,
    )


def _code(error: DeploykitError) -> int:
    """Return the exit code of a run that was undone: a stage's guard counts like any other."""
    for reason in (error, error.__cause__):
        if isinstance(reason, Interrupted | Refused):
            return reason.exit_code
    return 1


def _not_as_before(
    scene: Scene, table: Mapping[str, tuple[Measure, ...]], error: DeploykitError
) -> DeploykitError:
    wrong = "; ".join(
        f"{host}: {measure.kind} {measure.name} is {measure.is_ or 'absent'}"
        for host, measures in table.items()
        for measure in measures
        if not measure.ok
    )
    return DeploykitError(
        error.what,
        state=f"everything was undone, and yet the hosts are not as before: {wrong}",
        then=f"look: deploykit status {scene.run.environment}",
    )


def _published(table: Mapping[str, tuple[Measure, ...]]) -> str:
    """Return the release that was measured as the published one, where a stage publishes."""
    measures = (measure for found in table.values() for measure in found)
    found_one = (measure.is_ for measure in measures if measure.kind == "release")
    return next((release for release in found_one if release not in ("none", "?")), "")


def _result(
    scene: Scene,
    state: State,
    code: int,
    error: BaseException | None,
    table: Mapping[str, tuple[Measure, ...]],
    began: float,
    warnings: tuple[str, ...] = (),
) -> RunResult:
    if isinstance(error, DeploykitError):
        error.scrub(scene.events.scrubber.text)
    took = round(time.monotonic() - began, 3)
    scene.events.tell("run_ended", state=state, exit_code=code, took=took)
    return RunResult(
        environment=scene.run.environment,
        run=scene.run.id,
        release=_published(table) or (scene.run.release if scene.run.content else ""),
        state=state,
        exit_code=code,
        error=error,
        table=table,
        warnings=warnings,
        seconds=took,
    )
