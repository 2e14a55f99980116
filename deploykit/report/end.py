"""The end of a run for people: the end table, and one sentence that says how it ended."""

from __future__ import annotations

from deploykit.engine.outcome import RunResult
from deploykit.report.style import Paint
from deploykit.report.tables import end_table
from deploykit.report.units import duration
from deploykit.report.words import Tone

__all__ = ["end_lines"]

STUCK, INTERRUPTED = 3, 130


def end_lines(result: RunResult, paint: Paint, width: int) -> list[str]:
    """Return the last lines of a run, resume or rollback."""
    lines = ["", *end_table(result.table, paint, width)] if result.table else []
    lines += [paint(f"warning: {warning}", "warning") for warning in result.warnings]
    sentence, tone = _sentence(result)
    return [*lines, *([""] if lines else []), paint(sentence, tone)]


def _sentence(result: RunResult) -> tuple[str, Tone]:
    run = f"run {result.run}" if result.run else "no run"
    took = f" in {duration(result.seconds)}" if result.seconds else ""
    where = result.environment
    if result.exit_code == 0:
        return f"{where}: {_word(result)}{_release(result)}{took} ({run})", "good"
    if result.exit_code == STUCK:
        sentence = f"{where}: STUCK: failed and NOT fully rolled back ({run})"
        return f"{sentence}; next: deploykit rollback {where}", "bad"
    if result.state == "rolled_back":
        why = "interrupted" if result.exit_code == INTERRUPTED else "failed"
        return f"{where}: {why} and rolled back{took}; the hosts are as before ({run})", "warning"
    return f"{where}: nothing was done{took} ({run})", "bad"


def _release(result: RunResult) -> str:
    """Say which release the hosts serve now, as measured; after a rollback it is an older one."""
    served = {m.is_ for found in result.table.values() for m in found if m.kind == "release"}
    release = served.pop() if len(served) == 1 else result.release
    return f", release {release}" if release else ""


def _word(result: RunResult) -> str:
    return {"rolled_back": "rolled back", "sealed": "done", "confirmed": "done"}.get(
        result.state, result.state
    )
