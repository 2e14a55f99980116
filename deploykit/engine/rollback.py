"""Going back: the journal backwards, with a barrier a stage, on all hosts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from deploykit.engine.fleet import attempt_each, each
from deploykit.engine.journal import History
from deploykit.engine.receipts import stop
from deploykit.engine.scene import Scene, read_reachable
from deploykit.engine.schedule import carry_out, hosts_of, is_after_confirmed
from deploykit.errors import DeploykitError, Fenced, RollbackFailed, TransportError

__all__ = ["go_back"]


def go_back(scene: Scene, reason: str, *, rejected: bool) -> None:
    """
    Undo every stage that has begun, newest first; mark the release `bad`.

    A stage that cannot be undone on one host, or may have begun on a host that is gone, is finished
    on the others, and nothing earlier is touched after that: the schema must not be taken from
    under a host that runs the new code.

    Args:
        scene: of the run that goes back.
        reason: why, for the journal.
        rejected: a check, a guardian or a person said no to this content: the next push of it is
            refused.

    Raises:
        Fenced: another controller, or a guardian, has taken the run over.
        RollbackFailed: some undo failed; the run is `stuck` until `rollback` succeeds.
    """
    scene.interrupts.going_back()
    history, gone = read_reachable(scene.fleet, scene.run.id)
    # A run that was stuck starts over: a new attempt lets ended commands run again.
    turn = history.attempt() + (history.state == "stuck")
    back = {"kind": "back", "reason": reason, "rejected": rejected}
    missing = {host: turn - history.turns(host) for host in history.records}
    if any(missing.values()):  # also where a host was gone when the others turned
        each({h: partial(scene.write_all, h, [back] * n) for h, n in missing.items() if n})
        history, gone = read_reachable(scene.fleet, scene.run.id)
    scene.events.tell("rollback_started", reason=reason)
    _stop_running(scene, history)
    attempt = history.attempt()
    plans = history.plans()
    done = history.done("undone", attempt)
    touched = history.touched()
    for name in reversed(list(scene.stages)):
        if not is_after_confirmed(scene.stages[name]):
            left = [host for unit, host in plans if unit == name and (unit, host) in touched - done]
            _undo_stage(scene, name, left, plans, attempt)
            _leave_to_the_gone(scene, name, touched, gone)
    if gone:
        raise _stuck(scene, "not everything is known to be undone", gone)
    was_rejected = rejected or any(record.get("rejected") for _, record in history.all("back"))
    scene.write_everywhere("rolled_back", release=scene.release("bad", rejected=was_rejected))
    scene.events.tell("run_rolled_back")


def _stop_running(scene: Scene, history: History) -> None:
    """Stop what still runs on any host, or declare the run stuck."""
    failures: dict[str, BaseException] = {}
    for host, ident in history.running():
        try:
            stop(scene.fleet.sessions[host], scene.run.id, ident, scene.epoch)
        except TransportError as error:
            failures[host] = error
    if failures:
        raise _stuck(scene, "a command still runs, and cannot be stopped", failures)


def _leave_to_the_gone(
    scene: Scene,
    name: str,
    touched: set[tuple[str, str]],
    gone: Mapping[str, BaseException],
) -> None:
    """
    Declare the run stuck if the stage may have had an effect on a host that is gone.

    Since a stage begins only when the one before is done on all hosts, such a host can be at most
    one stage further than the others. These go on as far as their own publish: leaving them with
    the new code would help nobody, and nothing before it may be touched.
    """
    names = list(scene.stages)
    furthest = max((names.index(stage) for stage, _ in touched), default=-1)
    at = names.index(name)
    to_publish = any(getattr(scene.stages[stage], "publishes", False) for stage in names[:at])
    if getattr(scene.stages[name], "is_check", False) or at > furthest + 1 or to_publish:
        return
    hosts = hosts_of(scene.stages[name], scene.fleet.environment, list(scene.fleet.sessions))
    missing = {host: gone[host] for host in hosts if host in gone}
    if missing:
        raise _stuck(
            scene, f"{name} cannot be undone", missing, stage=name, state=_left(scene, name)
        )


def _left(scene: Scene, name: str) -> str:
    earlier = list(scene.stages)[: list(scene.stages).index(name)]
    return f"not undone: {name} there, and before it {', '.join(earlier) or 'nothing'}"


def _undo_stage(
    scene: Scene,
    name: str,
    left: Sequence[str],
    plans: Mapping[tuple[str, str], Any],
    attempt: int,
) -> None:
    """Undo one stage on the hosts that are *left*, or declare the run stuck."""
    stage = scene.stages[name]
    hosts = tuple(host for unit, host in plans if unit == name)
    undo = partial(_undo_unit, scene, name, hosts, plans, attempt)
    failures = carry_out(stage, list(reversed(left)), undo, scene.interrupts, on_through=True)
    if not failures:
        return
    for error in failures.values():
        if isinstance(error, Fenced):
            raise error  # nothing is wrong with the undo
    for host, error in failures.items():
        scene.events.tell("undo_failed", stage=name, host=host, error=str(error))
    raise _stuck(scene, f"{name} cannot be undone", failures, stage=name, state=_left(scene, name))


def _stuck(
    scene: Scene,
    what: str,
    failures: Mapping[str, BaseException],
    *,
    state: str = "nothing more was undone",
    **keys: str,
) -> RollbackFailed:
    """Write `stuck` on every host that can be reached, and return the error that says why."""
    lines = "; ".join(f"{host}: {_first_line(error)}" for host, error in failures.items())
    reason = f"{what}: {lines}"
    # A host that is gone may be the very reason; that it cannot be told so must not hide it.
    attempt_each(
        {host: partial(scene.write, host, "stuck", reason=reason) for host in scene.fleet.sessions}
    )
    scene.events.tell("run_stuck", error=reason, **keys)
    stuck = RollbackFailed(
        f"the rollback is stuck: {what} on {', '.join(failures)}\n"
        + "\n".join(f"  {host}: {error}" for host, error in failures.items()),
        state=state,
        then=f"mend what it says, then: deploykit rollback {scene.run.environment}",
    )
    stuck.__cause__ = next(iter(failures.values()))
    return stuck


def _undo_unit(
    scene: Scene,
    name: str,
    hosts: tuple[str, ...],
    plans: Mapping[tuple[str, str], Any],
    attempt: int,
    host: str,
) -> None:
    began = time.monotonic()
    acting = scene.acting(name, hosts, "undo", attempt, host)
    scene.stages[name].undo(acting, plans[name, host])
    scene.write(host, "undone", stage=name, direction="undo", attempt=attempt)
    took = round(time.monotonic() - began, 3)
    scene.events.tell("stage_undone", stage=name, host=host, took=took)


def _first_line(error: BaseException) -> str:
    what = error.what if isinstance(error, DeploykitError) else f"{type(error).__name__}: {error}"
    return what.splitlines()[0] if what else type(error).__name__
