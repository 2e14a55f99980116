"""What an upload is to reach, by how much it misses that, and what of it has a known reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.parts.bench import table
from benchmarks.transfer_parts.tools import ALONE, CAT, OURS, SERIES, Took

__all__ = ["LINKS", "Cases", "Costs", "Found", "Goal", "Link", "goals", "least", "memory", "report"]

MEMORY = 150  # MB
NARROW = 100e6 / 8  # bytes a second
CAT_RATE = 0.9  # of what `ssh host cat` reaches
# Round trips, as counted by benchmarks/engine.py of what runs of any stages have.
AROUND = 2.6 + 4.7 + 1 + 1 + 2 + 2  # lock, look and plan, write ahead, guardian, end table, unlock
SMALL = 0.1  # of what is missing: what explains less is not named


@dataclass(frozen=True)
class Link:
    """A way to the host: seconds of a round trip, bytes a second."""

    trip: float
    rate: float = float("inf")

    @property
    def relay(self) -> str:
        """What the relay takes for it."""
        return f"{self.trip:g}" if self.rate == float("inf") else f"{self.trip:g}@{self.rate:.0f}"


LINKS = {
    "0 ms": Link(0),
    "0 ms, 100 Mbit/s": Link(0, NARROW),
    "50 ms": Link(0.05),
    "50 ms, 100 Mbit/s": Link(0.05, NARROW),
    "150 ms": Link(0.15),
    "150 ms, 100 Mbit/s": Link(0.15, NARROW),
}

Cases = dict[str, dict[str, list[Took]]]
"""By case and tool: every try."""

Found = dict[str, Cases]
"""By link."""


@dataclass(frozen=True)
class Costs:
    """
    What is known to take its time, measured in the same run.

    Args:
        startup: seconds of `deploykit --help`.
        packed: bytes of the tree, as `tar | zstd` makes them.
        copying: seconds more that the host takes to copy the tree than to link it.
    """

    startup: float
    packed: int
    copying: float


@dataclass(frozen=True)
class Goal:
    """
    What is to be reached.

    Args:
        name: it.
        link: of `LINKS`.
        case: of the trees' cases.
        clock: `stage` or `whole`.
        found: what was found, in the unit of what is allowed.
        allowed: at most.
        unit: seconds for one of *found*: what a peer took; 0 if this is not about time.
    """

    name: str
    link: str
    case: str
    clock: str
    found: float
    allowed: float
    unit: float

    @property
    def missed(self) -> bool:
        """Whether it is."""
        return self.found > self.allowed

    @property
    def over(self) -> float:
        """Seconds too many."""
        return (self.found - self.allowed) * self.unit


# What is known to keep deploykit from a goal: how it is said, and seconds of it in a goal.
REASONS: dict[str, Callable[[Goal, Costs], float]] = {
    "lock, plan, journal, guardian and end table take round trips": lambda goal, _costs: (
        AROUND * LINKS[goal.link].trip if goal.clock == "whole" else 0
    ),
    "Python has to start": lambda goal, costs: costs.startup if goal.clock == "whole" else 0,
    "unchanged files are copied on the host, not linked": lambda goal, costs: (
        0 if goal.case == "first" else costs.copying
    ),
    # Of this only what is more than is allowed, since the peers have to send as much.
    "what has to be sent takes longer at this width than is allowed": lambda goal, costs: (
        max(0, costs.packed / LINKS[goal.link].rate - goal.allowed * goal.unit)
        if goal.case == "first"
        else 0
    ),
}


def least(tries: Sequence[Took]) -> Took:
    """Return the least of each clock, and the most memory."""
    return Took(
        min(one.whole for one in tries),
        min(one.stage for one in tries),
        max(one.memory for one in tries),
    )


def memory(found: Found, series: str) -> int:
    """Return the most bytes that the controller had."""
    return max(least(tools[series]).memory for cases in found.values() for tools in cases.values())


def goals(tree: str, found: Found) -> list[Goal]:
    """Return what is to be reached with a tree."""
    wanted = [
        goal
        for link, cases in found.items()
        for case, tools in cases.items()
        for goal in _of_case(tree, link, case, {name: least(tools[name]) for name in tools})
    ]
    for series in SERIES:
        name = f"({tree}) {series}: MB of memory"
        wanted.append(Goal(name, "", "", "", memory(found, series) / 1e6, MEMORY, 0))
    return wanted


def _of_case(tree: str, link: str, case: str, took: Mapping[str, Took]) -> list[Goal]:
    """Return what is to be reached over a link in a case."""

    def goal(clock: str, allowed: float, *peers: str, series: str = OURS) -> Goal:
        best = min(getattr(took[peer], clock) for peer in peers)
        name = f"({tree}) {link}, {case}: {series}, {clock} to {' or '.join(peers)}"
        found = getattr(took[series], clock) / best
        return Goal(name, link, case, clock, found, allowed, best)

    first = case == "first"
    rsync = ("rsync -a", "rsync -az")
    wanted = [goal("stage", 1.0 if first else 0.5, *rsync)]
    if first:
        wanted.append(goal("stage", 1.15, "tar|zstd|ssh"))
        wanted.append(goal("stage", 1.3, "rsync -a", series=ALONE))
    if CAT in took:
        wanted.append(goal("stage", 1 / CAT_RATE, CAT))
    return [*wanted, goal("whole", 1.0 if LINKS[link].trip else 1.5, *rsync)]


def report(wanted: Mapping[str, Sequence[Goal]], costs: Mapping[str, Costs]) -> str:
    """Return a table of all goals that are missed, by tree: by how much, and why."""
    missed = [
        (goal, why(goal, costs[tree])) for tree in wanted for goal in wanted[tree] if goal.missed
    ]
    rows = [
        [
            goal.name,
            f"{goal.found:.2f}",
            f"{goal.allowed:.2f}",
            f"{goal.found / goal.allowed - 1:.0%}",
            f"{goal.over:.2f}" if goal.unit else "-",
            f"[{number}]",
        ]
        for number, (goal, _) in enumerate(missed, 1)
    ]
    title = f"{len(missed)} of {sum(map(len, wanted.values()))} goals missed"
    head = ["", "found", "allowed", "missed by", "seconds", "why"]
    notes = "".join(f"[{number}] {text}\n" for number, (_, text) in enumerate(missed, 1))
    return table(title, head, rows) + notes


def why(goal: Goal, costs: Costs) -> str:
    """Return what is known to keep deploykit from a goal, and whether that is all."""
    if not goal.unit:
        return "not known"
    known = {text: seconds(goal, costs) for text, seconds in REASONS.items()}
    known = {text: took for text, took in known.items() if took > SMALL * goal.over}
    said = [f"{text} ({took:.2f} s)" for text, took in known.items()]
    if sum(known.values()) < (1 - SMALL) * goal.over:
        said.append("the rest is not known" if said else "not known")
    return "; ".join(said)
