"""A run, forward: plan everything, write it ahead, apply stage by stage, confirm."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from deploykit import codec
from deploykit.engine import guardian
from deploykit.engine.fleet import attempt_each
from deploykit.engine.journal import History, State
from deploykit.engine.looks import TAKEN
from deploykit.engine.scene import Scene, opening
from deploykit.engine.schedule import carry_out, hosts_of, is_after_confirmed
from deploykit.errors import (
    DeploykitError,
    Fenced,
    Interrupted,
    PlanWrote,
    StageFailed,
    TransportError,
)
from deploykit.shell import fill
from deploykit.stage import AnyStage, Measure

__all__ = [
    "Plans",
    "confirm",
    "finish",
    "forward",
    "join_uploads",
    "plan_all",
    "rejects",
    "write_ahead",
]

Plans = Mapping[tuple[str, str], Any]


def plan_all(scene: Scene) -> dict[tuple[str, str], Any]:
    """
    Plan every stage on each of its hosts; nothing is changed.

    All at once: no plan depends on another, and each waits for hosts most of the time.

    Raises:
        DeploykitError: a plan cannot be made; nothing was touched.
    """
    labels = list(scene.fleet.sessions)
    work = {
        (name, host): partial(_plan, scene, name, host, hosts)
        for name, stage in scene.stages.items()
        for hosts in [hosts_of(stage, scene.fleet.environment, labels)]
        for host in hosts
    }
    # Checked while they wait: nothing is touched yet, so whoever asks to stop need not wait.
    plans, failures = attempt_each(work, scene.interrupts.checked)
    for error in failures.values():
        raise error
    for name, host in plans:
        scene.events.tell("stage_planned", stage=name, host=host)
    return plans


def write_ahead(scene: Scene, plans: Plans, action: str = "deploy") -> None:
    """Write the run and all its plans on every host, before anything is touched."""
    first = opening(scene, action, scene.fleet.sessions)

    def write(host: str) -> None:
        own = [
            {"kind": "plan", "stage": name, "plan": codec.encode(plan)}
            for (name, where), plan in plans.items()
            if where == host
        ]
        begun = scene.ledger(scene.release("building"))
        scene.write_all(host, [{**first, "plans": len(own)}, *own], after=begun)

    scene.fleet.each(lambda session: write(session.name))


def forward(scene: Scene, plans: Plans, done: set[tuple[str, str]]) -> None:
    """
    Apply stage by stage, with a barrier after each.

    Args:
        scene: of the run.
        plans: by stage and host.
        done: units that an earlier controller has applied.

    Raises:
        StageFailed: one that failed; nothing after it was begun.
        Interrupted: somebody asked to stop.
    """
    armed = False
    for name, stage in scene.stages.items():
        if is_after_confirmed(stage):
            continue
        scene.interrupts.check()
        if guardian.publishes(stage) and not armed:
            # Also where an earlier controller did: its guardian may have ended with its host.
            guardian.arm(scene, plans)
            armed = True
        hosts = tuple(host for unit, host in plans if unit == name)
        left = [host for host in hosts if (name, host) not in done]
        _apply_stage(scene, name, hosts, left, plans)


def join_uploads(scene: Scene, found: History) -> None:
    """
    Wait for what an earlier controller has left running in a stage that sends files.

    Such a stage looks at what is there before it sends; all others join by their own commands.

    Raises:
        Interrupted: somebody asked to stop.
    """
    running = set(found.running())
    for host, record in found.all("began"):
        ident = record.get("id", "")
        if (host, ident) in running and hasattr(scene.stages[record["stage"]], "pack"):
            session = scene.fleet.sessions[host]
            seized = f"{session.layout.run(found.run)}/output/{ident}.running"
            while session.query(TAKEN + fill("taken {}", seized), check=False).ok:
                scene.interrupts.sleep(0.2)


def confirm(scene: Scene, plans: Plans) -> dict[str, tuple[Measure, ...]]:
    """
    Measure the end table; if everything is as wanted, confirm the run on every host.

    Raises:
        StageFailed: something is not as wanted.
    """
    table = scene.measure(plans, undone=False)
    wrong = [
        f"{host}: {measure.kind} {measure.name} is {measure.is_ or 'absent'}, "
        f"not {measure.wanted or 'absent'}"
        for host, measures in table.items()
        for measure in measures
        if not measure.ok
    ]
    if wrong:
        raise StageFailed(
            "every stage passed, but the end is not as wanted:\n  " + "\n  ".join(wrong)
        )
    scene.interrupts.check()
    # `confirmed` comes last: until it stands everywhere, everything can still be undone.
    scene.write_everywhere("confirmed", release=scene.release("good"))
    scene.events.tell("run_confirmed")
    return table


def finish(scene: Scene, plans: Plans) -> tuple[State, tuple[str, ...]]:
    """
    Do what comes after the run is confirmed, and seal it if nothing keeps it open.

    Returns:
        The state that it ends in, and warnings: a failure here rolls nothing back.
    """
    state: State = "confirmed"
    warnings = []
    for name, stage in scene.stages.items():
        if not is_after_confirmed(stage):
            continue
        hosts = tuple(host for unit, host in plans if unit == name)
        work = partial(_apply_unit, scene, name, hosts, plans)
        failures = carry_out(stage, hosts, work, scene.interrupts, on_through=True)
        for host, error in failures.items():
            warnings.append(f"{name} on {host}: {error}")
            scene.events.tell("after_confirmed_failed", stage=name, host=host, error=str(error))
    if not any(keeps_open(stage, plans, name) for name, stage in scene.stages.items()):
        try:
            scene.write_everywhere("sealed")
            scene.events.tell("run_sealed")
            state = "sealed"
        except (Fenced, TransportError) as error:
            warnings.append(f"the run is confirmed, and could not be sealed: {error.what}")
    return state, tuple(warnings)


def keeps_open(stage: AnyStage, plans: Plans, name: str) -> bool:
    """Return whether *stage* holds means of undoing that are let go only later."""
    if not getattr(stage, "migrates", False):
        return False
    return any(getattr(plan, "pending", ()) for (unit, _), plan in plans.items() if unit == name)


def rejects(scene: Scene, error: BaseException) -> bool:
    """Return whether *error* is a check's no to this content."""
    if isinstance(error, Interrupted) or isinstance(error.__cause__, TransportError):
        return False  # nobody was asked, so nobody said no
    stage = scene.stages.get(getattr(error, "stage", ""))
    return bool(getattr(stage, "is_check", False))


def _plan(scene: Scene, name: str, host: str, hosts: tuple[str, ...]) -> Any:
    try:
        plan = scene.stages[name].plan(scene.planning(host, hosts))
        if codec.decode(codec.encode(plan)) != plan:
            raise TypeError("it does not survive JSON; use str, int, bool, None and tuples of them")
    except (DeploykitError, PlanWrote):
        raise
    except Exception as error:
        raise StageFailed(
            f"{name} cannot be planned on {host}: {type(error).__name__}: {error}",
            state="nothing was touched",
        ) from error
    return plan


def _apply_stage(
    scene: Scene, name: str, hosts: tuple[str, ...], left: list[str], plans: Plans
) -> None:
    stage = scene.stages[name]
    work = partial(_apply_unit, scene, name, hosts, plans)
    failures = carry_out(
        stage, left, work, scene.interrupts, on_through=False, stop=partial(_stop_units, scene)
    )
    scene.interrupts.check()
    for error in failures.values():
        if isinstance(error, Fenced):
            raise error  # nothing is wrong with the stage
    if failures:
        raise _failed(name, failures)


def _apply_unit(scene: Scene, name: str, hosts: tuple[str, ...], plans: Plans, host: str) -> None:
    began = time.monotonic()
    scene.events.tell("stage_started", stage=name, host=host)
    acting = scene.acting(name, hosts, "apply", 1, host)
    try:
        scene.stages[name].apply(acting, plans[name, host])
    except Interrupted:
        raise
    except Exception as error:
        scene.events.tell("stage_failed", stage=name, host=host, error=_said(error))
        raise
    finally:
        scene.acting_now.pop(host, None)
    scene.owe(host, "applied", stage=name, direction="apply")
    took = round(time.monotonic() - began, 3)
    scene.events.tell("stage_applied", stage=name, host=host, took=took)


def _stop_units(scene: Scene) -> None:
    """Stop what runs on every host now, so that a stage ends soon after Ctrl-C."""
    for host, unit in list(scene.acting_now.items()):
        try:
            unit.stop_running()
        except (Fenced, TransportError) as error:  # going back stops it again, or is not ours
            scene.events.tell("stop_failed", host=host, error=error.what)


def _failed(name: str, failures: Mapping[str, BaseException]) -> StageFailed:
    lines = [f"{name} failed on {host}: {_said(error)}" for host, error in failures.items()]
    first = next(iter(failures.values()))
    kind = type(first) if isinstance(first, StageFailed) else StageFailed
    failed = kind("\n".join(lines))
    failed.stage = name
    failed.__cause__ = first
    return failed


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, DeploykitError) else f"{type(error).__name__}: {error}"
