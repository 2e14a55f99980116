"""An environment's status for people: what is measured, who holds the lock, what can be undone."""

from __future__ import annotations

from deploykit.engine.outcome import StatusResult
from deploykit.report.style import Paint
from deploykit.report.tables import columns, end_table
from deploykit.report.words import Tone

__all__ = ["status_lines"]


def status_lines(status: StatusResult, paint: Paint, width: int) -> list[str]:
    """Return the lines of *status*."""
    hosts = [
        ((host.host, host.release or "none yet", host.state or "-"), _tone(host.state))
        for host in status.hosts
    ]
    lines = columns(("host", "release", "state"), hosts, paint, width)
    table = end_table({h.host: h.measures for h in status.hosts if h.measures}, paint, width)
    if table:
        lines += ["", *table]
    lines.append("")
    if status.lock:
        by, at, reason = status.lock.by, status.lock.at, status.lock.reason
        lines.append(paint(f"locked by {by} since {at}: {reason}", "warning"))
    if status.unfinished_run:
        lines.append(paint(f"run {status.unfinished_run} {_unfinished(status)}", "bad"))
        if status.guardian:
            lines.append(f"  {status.guardian}")
        lines.append(
            f"  next: deploykit resume {status.environment}, "
            f"or: deploykit rollback {status.environment}"
        )
    lines.append(_undoable(status))
    lines += [paint(f"left over: {item}", "warning") for item in status.leftovers]
    word, tone = _verdict(status)
    return [*lines, paint(word, tone)]


def _tone(state: str) -> Tone:
    tones: dict[str, Tone] = {"good": "good", "bad": "bad", "building": "warning"}
    return tones.get(state, "plain")


def _unfinished(status: StatusResult) -> str:
    if status.unfinished_state == "needs_rollback":
        return "needs a rollback"
    return (
        f"is unfinished ({status.unfinished_state})" if status.unfinished_state else "is unfinished"
    )


def _undoable(status: StatusResult) -> str:
    if status.rung is None:
        return "there is nothing to roll back"
    until = f" until {status.until}" if status.until else ""
    return f"a rollback goes on rung {status.rung} ({RUNGS.get(status.rung, 'unknown')}){until}"


def _verdict(status: StatusResult) -> tuple[str, Tone]:
    if status.ok:
        return f"{status.environment}: all as wanted", "good"
    return f"{status.environment}: NOT as wanted", "bad"


RUNGS = {
    1: "code only; loses nothing",
    2: "the schema stays; loses nothing",
    3: "downgrade of the schema",
    4: "copy and replay; loses nothing",
    5: "restore of the backup; loses what was written since",
}
