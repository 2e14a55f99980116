"""Random examples: a pipeline, and what is done with it. Plain values, so that they shrink well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import strategies as st

from tests.engine.machine.fakes import Fake, How, Item
from tests.engine.machine.world import Fault

__all__ = ["CASES", "KNOWN", "Act", "Case", "Trouble", "Verb"]

Verb = Literal["run", "resume", "rollback", "guardian"]


@dataclass(frozen=True)
class Trouble:
    """
    Something that goes wrong on a host, as long as one controller is at work.

    Args:
        host: its number, as far as there are so many.
        place: the number of a command, or of another place in a stage where one can fail.
        what: how; a place that is no command just fails.
    """

    host: int
    place: int
    what: Literal["fail-before", "fail-after", "die-before", "die-after"]


@dataclass(frozen=True)
class Act:
    """
    One controller; or the guardians, which are let fire.

    Args:
        verb: what it is asked for.
        faults: what befalls it.
        troubles: what goes wrong on hosts meanwhile.
        other: what comes where a fault says that another one does.
        is_other: `deploy.py` names other stages by now; of the guardians, only one fires.
    """

    verb: Verb
    faults: tuple[Fault, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    other: Verb = "resume"
    is_other: bool = False


@dataclass(frozen=True)
class Case:
    """
    An example.

    Args:
        hosts: how many.
        stages: of the pipeline.
        acts: one after the other.
        end: how what is unfinished then is finished.
    """

    hosts: int
    stages: tuple[Fake, ...]
    acts: tuple[Act, ...]
    end: Verb = "resume"


def pipeline(
    stages: Sequence[Fake], pausing: Sequence[bool], after: Sequence[Fake]
) -> tuple[Fake, ...]:
    """
    Return *stages*, each with its name.

    Args:
        stages: of the run.
        pausing: which of them pause something, if a later one publishes and so can start it.
        after: those that come once the run is confirmed.
    """
    last = max((at for at, stage in enumerate(stages) if stage.publishes), default=0)
    waits = [f"service{at}" for at, does in enumerate(pausing[:last]) if does]
    made = []
    for at, stage in enumerate(stages):
        pauses = tuple(name for name in waits if name == f"service{at}")
        starts = tuple(waits) if at == last else ()
        is_link = stage.publishes and not pauses
        made.append(replace(stage, publishes=is_link, pauses=pauses, starts=starts))
    late = [replace(stage, after_confirmed=True, publishes=False, rung=0) for stage in after]
    return tuple(replace(stage, name=f"s{at}") for at, stage in enumerate([*made, *late]))


HOWS: st.SearchStrategy[How] = st.sampled_from(("once", "again", "put"))
ITEMS = st.lists(st.tuples(HOWS, HOWS), min_size=1, max_size=2).map(
    lambda hows: tuple(Item(f"k{at}", *how) for at, how in enumerate(hows))
)
STAGES = st.builds(
    Fake,
    name=st.just(""),
    items=ITEMS,
    placement=st.sampled_from(("each", "serial", "first")),
    on=st.sampled_from((None, "db", "web")),
    is_check=st.booleans(),
    publishes=st.booleans(),
    apart=st.booleans(),
    rung=st.sampled_from((0, 0, 0, 1, 3)),
    packs=st.booleans(),
    measures=st.booleans(),
)
# What people deploy: an upload, a schema behind a pause, a link with its services, a check.
TYPICAL = (
    Fake("s0", (Item("k0", "put", "once"), Item("k1", "once", "again")), packs=True),
    Fake("s1", (Item("k0", "again", "again"),), placement="serial", pauses=("service",)),
    Fake("s2", (Item("k0", "once", "once"),), placement="first", on="db", rung=1, apart=True),
    Fake("s3", (Item("k0", "again", "again"),), publishes=True, starts=("service",)),
    Fake("s4", (Item("k0", "again", "again"),), is_check=True, measures=False),
    Fake("s5", (Item("k0", "again", "again"),), after_confirmed=True),
)
PIPELINES = st.one_of(
    st.builds(
        pipeline,
        st.lists(STAGES, min_size=1, max_size=3),
        st.lists(st.booleans(), max_size=2),
        st.lists(STAGES, max_size=1),
    ),
    st.just(TYPICAL),
)

PAIR = (
    Fake("s0", (Item("k0", "put", "once"), Item("k1", "once", "once")), packs=True),
    Fake("s1", (Item("k0", "once", "again"),), publishes=True),
)
CUT_FOR_GOOD = Fault("cut", 0, "late", deaf=1000)
KNOWN = {
    "a person's rollback fences a frozen run": Case(
        1, PAIR, (Act("run", (Fault("other", 0, "ready"),), other="rollback"),)
    ),
    "a person's resume fences a frozen run": Case(
        2, PAIR, (Act("run", (Fault("other", 35, "ready"),), other="resume"),)
    ),
    "one guardian fences a frozen run": Case(
        2, PAIR, (Act("run", (Fault("other", 40, "after"),), other="guardian", is_other=True),)
    ),
    "guardians, then a rollback that is killed": Case(
        2,
        TYPICAL,
        (
            Act("run", (Fault("kill", 66, "late", grace=(2,)),)),
            Act("guardian"),
            Act("rollback", (Fault("kill", 0, "early"),)),
        ),
    ),
    "a command that is torn going back": Case(
        1,
        PAIR,
        (
            Act("run", (Fault("power", 0, "late"),)),
            Act("rollback", (Fault("power", 0, "early"),)),
        ),
        "rollback",
    ),
    "a host that is gone during a rollback": Case(
        2, PAIR, (Act("run"), Act("rollback", (CUT_FOR_GOOD,)))
    ),
}
"""What has gone wrong once, or is too rare to wait for."""

AT = st.integers(0, 200)  # as far as a controller has so many calls
WHEN = st.sampled_from(("before", "after", "ready", "early", "late"))
DEAF = st.sampled_from((0, 1, 3, 1000))
GRACE = st.lists(st.integers(0, 6), max_size=2).map(tuple)
FAULTS = st.one_of(
    st.builds(Fault, st.just("kill"), AT, WHEN, grace=GRACE),
    st.builds(Fault, st.sampled_from(("cut", "power")), AT, WHEN, deaf=DEAF),
    st.builds(Fault, st.just("signal"), AT, WHEN),
    st.builds(Fault, st.just("other"), AT, WHEN),
)
TROUBLES = st.builds(
    Trouble,
    st.integers(0, 2),
    st.integers(0, 20),
    st.sampled_from(("fail-before", "fail-after", "die-before", "die-after")),
)


def acts(*verbs: Verb) -> st.SearchStrategy[Act]:
    """Return acts of *verbs*, most of which something befalls."""
    faults = [st.lists(FAULTS, min_size=n, max_size=n, unique_by=lambda f: f.at) for n in range(3)]
    troubles = [st.lists(TROUBLES, min_size=n, max_size=n) for n in range(3)]
    return st.builds(
        Act,
        st.sampled_from(verbs),
        st.sampled_from((1, 1, 1, 0, 2)).flatmap(lambda n: faults[n]).map(tuple),
        st.sampled_from((0, 0, 1, 2)).flatmap(lambda n: troubles[n]).map(tuple),
        st.sampled_from(("resume", "rollback", "guardian", "run")),
        st.booleans(),
    )


CASES = st.builds(
    Case,
    st.sampled_from((1, 1, 1, 2, 2, 3)),
    PIPELINES,
    st.builds(
        lambda first, rest: (first, *rest),
        acts("run"),
        st.lists(acts("resume", "rollback", "guardian", "guardian", "run"), min_size=1, max_size=3),
    ),
    st.sampled_from(("resume", "rollback")),
)
