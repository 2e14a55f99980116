"""A plan for people: stage by stage, host by host, then what to know before running it."""

from __future__ import annotations

from deploykit.engine.outcome import PlannedStage, PlanResult
from deploykit.report.style import Paint

__all__ = ["plan_lines"]


def plan_lines(plan: PlanResult, paint: Paint) -> list[str]:
    """Return the lines of *plan*."""
    lines = [f"a run of {plan.environment} would make release {plan.release}"]
    if plan.content:
        lines.append(paint(f"content {plan.content[:12]}", "faint"))
    for stage in plan.stages:
        lines += ["", *_stage(stage, paint)]
    if plan.lock:
        lines += [
            "",
            paint(f"locked by {plan.lock.by} since {plan.lock.at}: {plan.lock.reason}", "warning"),
        ]
    if plan.notes:
        lines += ["", *(paint(f"note: {note}", "warning") for note in plan.notes)]
    return lines


def _stage(stage: PlannedStage, paint: Paint) -> list[str]:
    """Return a stage's lines, once where all hosts have the same ones."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for host, said in stage.lines.items():
        groups.setdefault(said, []).append(host)
    lines = []
    for said, hosts in groups.items():
        lines.append(f"{paint(stage.name, 'good')}  {paint(', '.join(hosts), 'faint')}".rstrip())
        lines += [f"  {line}" for line in said]
    return lines or [paint(stage.name, "good")]
