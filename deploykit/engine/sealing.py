"""Until when a run can be undone without loss."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from deploykit.durations import seconds
from deploykit.engine.fleet import Fleet
from deploykit.engine.journal import History

__all__ = ["losses", "open_until", "sealed_schema"]


def open_until(run: History) -> datetime | None:
    """Return when *run* is sealed, by its hosts' clock; None if it changed no schema."""
    longest: datetime | None = None
    stages, plans = run.stages(), run.plans()
    confirmed = [record["at"] for _, record in run.all("confirmed")]
    for (name, _), plan in plans.items():
        stage = stages[name]
        if not getattr(stage, "migrates", False) or not getattr(plan, "pending", ()):
            continue
        begun = datetime.fromisoformat(max(confirmed)) if confirmed else datetime.now(UTC)
        until = begun + timedelta(seconds=seconds(getattr(stage, "undo_for", 0)))
        longest = max(longest or until, until)
    return longest


def losses(run: History) -> tuple[str, ...]:
    """Return what undoing the schema changes of *run* would lose, a sentence each."""
    said = (getattr(plan, "loses", "") for plan in run.plans().values())
    return tuple(dict.fromkeys(text for text in said if text))


def sealed_schema(fleet: Fleet, run: History) -> str:
    """Return what would be lost by undoing a sealed schema change of *run*; empty if none is."""
    until = open_until(run)
    if until is None:
        return ""
    clock = next(iter(fleet.sessions.values())).query("date -u +%Y-%m-%dT%H:%M:%SZ").output.strip()
    if not run.has("sealed") and datetime.fromisoformat(clock) < until:
        return ""
    release = run.opening["release"] if run.opening else run.run
    return f"release {release} was sealed {until:%Y-%m-%d %H:%M} UTC: {'; '.join(losses(run))}"
