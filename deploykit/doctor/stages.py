"""Asks every stage: its `check`, where it has one, and whether it can be planned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from deploykit.doctor.databases import Used
from deploykit.doctor.here import Packs
from deploykit.doctor.planning import planning_of, scene_of
from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet
from deploykit.errors import DeploykitError, PlanWrote
from deploykit.findings import Finding
from deploykit.stage import AnyStage, Planning

__all__ = ["examine"]


def examine(fleet: Fleet, packs: Packs, events: Events) -> tuple[list[Finding], frozenset[Used]]:
    """
    Ask every stage that would work on the hosts of *fleet*.

    A plan may only look, and asks all that a run relies on: rights, rules of sudo, databases,
    heads of migrations, shared files. So one that can be made is the best of checks.

    Returns:
        Findings, and which databases the stages use.
    """
    scene = scene_of(fleet, packs or {}, events)
    findings: list[Finding] = []
    used: set[Used] = set()
    for stage in scene.stages.values():
        for ctx in planning_of(scene, stage):
            said = [*_checked(stage, ctx)]
            findings += said
            if not any(finding.severity == "problem" for finding in said):
                findings += _planned(stage, ctx, packs)
            used |= Used.of(stage, ctx, fleet.environment)
    return findings, frozenset(used)


def _checked(stage: AnyStage, ctx: Planning) -> Iterator[Finding]:
    check = getattr(stage, "check", None)
    if not callable(check):
        return
    try:
        answers: Iterable[Any] = check(ctx)
        for finding in answers:
            yield Finding(
                finding.severity,
                f"{stage.name}: {finding.what}",
                finding.mend,
                finding.host or ctx.host.name,
            )
    except DeploykitError as error:
        yield _failed(stage, ctx, error)


def _planned(stage: AnyStage, ctx: Planning, packs: Packs) -> Iterator[Finding]:
    if packs is None or (stage.name not in packs and getattr(stage, "builds", False)):
        return  # what it needs is not packed, and that has been said
    try:
        stage.plan(ctx)
    except (DeploykitError, PlanWrote) as error:
        yield _failed(stage, ctx, error)
    except Exception as error:  # noqa: BLE001  # a stage of the user's own may raise anything
        what = f"{stage.name} cannot be planned: {type(error).__name__}: {error}"
        yield Finding.problem(what, host=ctx.host.name)
    else:
        yield Finding.ok(f"{stage.name} can be planned", host=ctx.host.name)


def _failed(stage: AnyStage, ctx: Planning, error: Exception) -> Finding:
    what = error.what if isinstance(error, DeploykitError) else str(error)
    mend = error.then if isinstance(error, DeploykitError) else ""
    text = what if what.startswith(stage.name) else f"{stage.name}: {what}"
    return Finding.problem(text, mend, host=ctx.host.name)
