"""Which way a run goes, and to its end: forward, or back as soon as anything fails."""

from __future__ import annotations

from deploykit.engine.ending import ended_back, ended_elsewhere, ended_forward
from deploykit.engine.journal import GOING_BACK
from deploykit.engine.outcome import RunResult
from deploykit.engine.rollback import go_back
from deploykit.engine.runner import Plans, confirm, finish, forward, join_uploads, rejects
from deploykit.engine.scene import Scene, read_reachable
from deploykit.engine.takeover import regained
from deploykit.errors import DeploykitError, Fenced, TransportError, unexpected

__all__ = ["back_to_the_end", "carry_on", "forward_to_the_end", "nothing_written"]


def carry_on(scene: Scene, began: float) -> RunResult:
    """Go on with a run whose plans are written, in the direction its journal has."""
    found = scene.histories()
    if found.state in GOING_BACK:
        return back_to_the_end(scene, DeploykitError("it was going back already"), False, began)
    if not found.written_ahead:
        cut = DeploykitError("it was cut short before its plans were on every host")
        return back_to_the_end(scene, cut, False, began)
    plans = found.plans()
    if found.state in ("confirmed", "sealed"):
        table = scene.measure(plans, undone=False)
        return ended_forward(scene, table, finish(scene, plans), began)
    join_uploads(scene, found)
    return forward_to_the_end(scene, plans, found.done("applied"), began)


def nothing_written(scene: Scene, error: DeploykitError) -> bool:
    """Return whether no host that can be asked knows of the run, which then has touched nothing."""
    try:
        found, _ = read_reachable(scene.fleet, scene.run.id)
    except TransportError:
        error.state = "nothing was touched, but the lock may have been left there"
        error.then = f"when it can be reached again: deploykit resume {scene.run.environment}"
        return True
    return found.opening is None


def forward_to_the_end(
    scene: Scene, plans: Plans, done: set[tuple[str, str]], began: float
) -> RunResult:
    """Apply what is not *done*, and confirm; go back if anything fails."""
    try:
        forward(scene, plans, done)
        table = confirm(scene, plans)
    except Exception as error:  # noqa: BLE001  # a mistake of ours or of a stage turns back too
        known = error if isinstance(error, DeploykitError) else unexpected(error)
        return back_to_the_end(scene, known, rejects(scene, known), began)
    return ended_forward(scene, table, finish(scene, plans), began)


def back_to_the_end(
    scene: Scene, error: DeploykitError, rejected: bool, began: float, *, asked: bool = False
) -> RunResult:
    """Undo the run, and say how that ended; once more where a guardian was faster."""
    failed: DeploykitError | None = None
    try:
        reached_ones, _ = read_reachable(scene.fleet, scene.run.id)
        if reached_ones.state != "rolled_back":  # else only its lock was left
            go_back(scene, error.what, rejected=rejected)
    except Fenced as fenced:
        try:
            with regained(scene, fenced) as again:
                return back_to_the_end(again, error, rejected, began, asked=asked)
        except Fenced as theirs:
            return ended_elsewhere(scene, theirs, began)
        except DeploykitError as lost:  # a host that could not be asked, or taken over again
            failed = lost
    except Exception as undoing:  # noqa: BLE001  # whatever it was, the run is not undone
        failed = undoing if isinstance(undoing, DeploykitError) else unexpected(undoing)
        failed.what += f"\nit was going back because: {error.what}"
    return ended_back(scene, error, failed, began, asked=asked)
