"""The kill matrix as a page of the documentation: a line for each effect."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.faults.killing import Mode
from tests.faults.matrix import Outcome, Series

__all__ = ["page"]

SAID: dict[Series, str] = {
    "forward": "Going forward",
    "back": "Going back",
    "undo": "Rolling back by hand",
}
MODES: tuple[Mode, ...] = ("before", "cut", "sent", "after")

PAGE = """\
# The kill matrix

What this page shows was measured, by `nox -s faults -- --table docs/explanation/kill-matrix.md`.

A pipeline of `Transfer`, `Install`, `Backup`, `Pause`, `Migrate`, `Restart`, `SmokeTest` and
`Prune` deploys an application with a PostgreSQL database to a host with real OpenSSH and systemd.
The controller is killed (`SIGKILL`) at one of its effects, and another process is told to `resume`
or `rollback`. An effect is whatever changes something on the host: a command, a record, a piece of
an upload, the lock, the guardian. It is met *before* it was sent, *cut* in the middle of being
sent, *sent* whole but not answered, and *after* the answer, before anything came of that.

Meanwhile a user writes rows through the application. After the recovery, all of this must hold:
link, running process, schema and columns are exactly the old or exactly the new ones; each command
has begun once and ended once, and counters that the commands themselves write agree; no
acknowledged row is lost or doubled; the lock is free; no process and no temporary file is left. A
second `run` then ends with 0, and in a quarter of the cases a `rollback` after it.

**{cases} cases, {wrong} wrong ends.** In {once} of them the process that recovered was killed, too,
and in {twice} twice. In {fresh} it had no local state, in {away} the contents of the release were
no longer on the operator's machine. The slowest recovery took {slowest:.1f} s, nested kills
included; for {waited:.1f} s at most was a dead controller taken for one at work. (Seed {seed}.)
"""

HEAD = (
    "| effect | before | cut | sent | after | ended as before | ended as new | wrong | slowest |",
    "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
)


def page(outcomes: Sequence[Outcome], seed: int) -> str:
    """Return *outcomes* as Markdown: a summary, and a table for each series."""
    nested = Counter(outcome.case.nested for outcome in outcomes)
    text = PAGE.format(
        cases=len(outcomes),
        wrong=sum(bool(outcome.wrong) for outcome in outcomes),
        once=nested[1],
        twice=nested[2],
        fresh=sum(not outcome.case.local for outcome in outcomes),
        away=sum(not outcome.case.here for outcome in outcomes),
        slowest=max((outcome.recovery for outcome in outcomes), default=0.0),
        waited=max((outcome.waited for outcome in outcomes), default=0.0),
        seed=seed,
    )
    lines = [text]
    for series, said in SAID.items():
        own = [outcome for outcome in outcomes if outcome.case.series == series]
        lines += [f"## {said}", "", *HEAD, *_rows(own), ""]
    return "\n".join(lines)


def _rows(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a row for each effect, in the order in which a controller has them."""
    by_effect: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in sorted(outcomes, key=lambda outcome: outcome.case.effect):
        by_effect[outcome.hit].append(outcome)
    return [_row(effect, found) for effect, found in by_effect.items()]


def _row(effect: str, found: Sequence[Outcome]) -> str:
    modes = Counter(outcome.case.mode for outcome in found)
    ends = Counter(outcome.end for outcome in found)
    cells = [
        f"`{effect}`",
        *(str(modes[mode] or "") for mode in MODES),
        str(ends["old"]),
        str(ends["new"]),
        str(sum(bool(outcome.wrong) for outcome in found)),
        f"{max(outcome.recovery for outcome in found):.1f} s",
    ]
    return f"| {' | '.join(cells)} |"
