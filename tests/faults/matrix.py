"""
The kill matrix: a controller killed at one effect, others that finish or undo its run, a verdict.

A case is a word such as `forward.28.cut.rollback.away.fresh.n2.s7`, by which it can be repeated.
"""

from __future__ import annotations

import re
import shutil
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Literal, cast

from tests.farm import eventually
from tests.faults.evidence import End, evidence, judge
from tests.faults.killing import MODES, Kill, Mode
from tests.faults.site import Site
from tests.faults.writer import Writer
from tests.faults.zygote import Ended, Order, Zygote

__all__ = ["Bench", "Case", "Outcome", "Series", "cases"]

Series = Literal["forward", "back", "undo"]
"""
What the first controller does when it is killed.

`forward`: a run of which nothing fails; `back`: a run that its smoke test turns back; `undo`: the
rollback of a run that was confirmed.
"""

Effect = tuple[int, tuple[str, str]]
"""Its number among the effects of its controller, its name and its sort."""

Verb = Literal["resume", "rollback"]
_VERBS: tuple[Verb, ...] = ("resume", "rollback")
NEVER = Kill()
MOMENT = 5.0  # seconds for what is ending by itself, such as a guardian
AT_WORK_WITHIN = 30.0  # seconds for which "its controller is at work" is believed


@dataclass(frozen=True)
class Case:
    """
    One cell of the matrix.

    Args:
        series: what the first controller does.
        effect: which of its effects it is killed at.
        mode: when in it.
        recover: what is typed then, `resume` or `rollback`.
        here: whether the contents of the release are still on the operator's machine.
        local: whether his local state is.
        nested: how many of those who recover are killed, too.
        full: whether a person rolls the second run back in the end.
        seed: of everything else.
    """

    series: Series
    effect: int
    mode: Mode
    recover: Verb
    here: bool
    local: bool
    nested: int
    full: bool
    seed: int

    def __str__(self) -> str:
        return ".".join(
            [
                *(self.series, str(self.effect), self.mode, self.recover),
                "here" if self.here else "away",
                "local" if self.local else "fresh",
                f"n{self.nested}",
                "full" if self.full else "short",
                f"s{self.seed}",
            ]
        )

    @classmethod
    def parse(cls, text: str) -> Case:
        """Return the case that `str` wrote as *text*."""
        series, effect, mode, recover, here, local, nested, full, seed = text.split(".")
        return cls(
            cast("Series", series),
            int(effect),
            cast("Mode", mode),
            cast("Verb", recover),
            here == "here",
            local == "local",
            int(nested[1:]),
            full == "full",
            int(seed[1:]),
        )


@dataclass
class Outcome:
    """
    What came of a case.

    Args:
        case: which.
        hit: the effect at which the controller was killed.
        end: what it came to.
        wrong: everything that should not be so.
        recovery: seconds of all the controllers that recovered it.
        waited: seconds for which they were told that its controller is at work.
        seconds: of the whole case.
        steps: what was done, and how long each took.
        told: the server, for a report; empty where nothing is wrong.
    """

    case: Case
    hit: str = ""
    end: End | Literal["?"] = "?"
    wrong: list[str] = field(default_factory=list)
    recovery: float = 0.0
    waited: float = 0.0
    seconds: float = 0.0
    steps: list[str] = field(default_factory=list)
    told: str = ""

    def line(self) -> str:
        """Return one line; more where something is wrong."""
        line = (
            f"{self.end:7} {self.seconds:5.1f} s, recovered in {self.recovery:4.1f} s  "
            f"{self.case}  {self.hit}"
        )
        return "\n".join([line, *self.wrong, *self.steps, self.told]) if self.wrong else line


class Bench:
    """
    A server, and a zygote of controllers for it.

    Args:
        site: prepared, with nothing deployed yet.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.zygote = Zygote()
        self._steps: list[str] = []
        self._local = True
        self._old_runs: set[str] = set()

    def begin(self) -> dict[Series, list[Effect]]:
        """Deploy v1, then v2, keep both states, and return the effects of every series."""
        # Three times: the oldest is there to be removed by `Prune`, the others to be gone back to.
        first = [self._well("run", "v1") for _ in range(3)]
        self._keep("old", first[-1])
        self._old_runs = set(evidence(self.site).journals)
        forward = self._well("run", "v2")
        self._keep("new", forward)
        undo = self._well("rollback", "v2")
        self.site.restore("old")
        back = self._do("run", "broken")
        assert (back.code, back.state) == (1, "rolled_back"), back
        return {
            "forward": list(enumerate(forward.effects, 1)),
            "back": list(enumerate(back.effects, 1))[back.back_from or 0 :],
            "undo": list(enumerate(undo.effects, 1)),
        }

    def close(self) -> None:
        """End the zygote."""
        self.zygote.close()

    def run(self, case: Case) -> Outcome:
        """Go through *case*, having put the server to where it begins."""
        began = time.monotonic()
        outcome = Outcome(case)
        self._steps = outcome.steps
        self._local = True
        try:
            self.site.restore("new" if case.series == "undo" else "old")
            with Writer(self.site, f"s{case.seed}") as writer:
                eventually(lambda: writer.acknowledged, within=10)
                self._go_through(case, outcome, writer)
        except Exception:  # noqa: BLE001 - also a server that does not come back is an outcome
            outcome.wrong.append(traceback.format_exc())
        outcome.seconds = time.monotonic() - began
        return outcome

    def _keep(self, state: str, ended: Ended) -> None:
        """Keep the server as it is once what *ended* has left, such as a guardian, has ended."""
        eventually(lambda: not self.site.processes(), within=MOMENT)
        self.site.keep(state, ended.release)

    def _go_through(self, case: Case, outcome: Outcome, writer: Writer) -> None:
        version = "broken" if case.series == "back" else "v2"
        verb = "rollback" if case.series == "undo" else "run"
        first = self._do(verb, version, Kill(case.effect, case.mode, case.seed, _slowest(case)))
        outcome.hit = first.hit or "none"
        self._local = case.local
        with self._contents(version, here=case.here):
            last = self._recover(case, version, outcome)
        journal = evidence(self.site).confirmed(self._old_runs)
        self._expect(outcome, _allowed(case, first, last, journal), writer)
        if not outcome.wrong:
            self._well("run", "v2")
            self._expect(outcome, ("new",), writer)
        if case.full and not outcome.wrong:
            self._well("rollback", "v2", release=self.site.base)
            self._expect(outcome, ("old",), writer)

    def _recover(self, case: Case, version: str, outcome: Outcome) -> Last:
        """Let one controller after the other finish or undo the run, until one is not killed."""
        random = Random(case.seed)
        verb = case.recover
        began = time.monotonic()
        for left in range(case.nested, -1, -1):
            if verb == "rollback" and not self._is_to_be_undone():
                verb = "resume"
            kill = Kill()
            if left:
                mode = random.choice(MODES["call"])
                kill = Kill(random.randrange(1, 16), mode, random.randrange(1 << 20))
            ended = self._taken_over(verb, version, kill, outcome)
            if ended.code is not None:
                break
            verb = random.choice(_VERBS)
        outcome.recovery = time.monotonic() - began
        return Last(verb, ended)

    def _is_to_be_undone(self) -> bool:
        """Return whether there is a run that somebody could mean when typing `rollback` now."""
        found = evidence(self.site)
        return bool(found.unfinished()) or found.locked or found.end(self.site.base) == "new"

    def _taken_over(self, verb: str, version: str, kill: Kill, outcome: Outcome) -> Ended:
        """Do *verb*, again and again where the controller that was killed seems to be at work."""
        began = time.monotonic()
        while True:
            ended = self._do(verb, version, kill)
            waited = time.monotonic() - began
            if ended.kind != "StillAtWork" or waited > AT_WORK_WITHIN:
                return ended
            outcome.waited = max(outcome.waited, waited)
            time.sleep(0.1)

    def _expect(self, outcome: Outcome, allowed: Sequence[End], writer: Writer) -> None:
        """Judge the server; what is ending by itself is given a moment for it."""
        began = time.monotonic()
        kept = list(writer.acknowledged)
        while True:
            found = evidence(self.site)
            runs = set(found.journals) - self._old_runs
            wrong = judge(self.site, found, runs, allowed, kept)
            if not wrong or time.monotonic() > began + MOMENT:
                break
            time.sleep(0.1)
        if wrong:
            outcome.told = found.told(runs)
        outcome.wrong += wrong
        self._steps.append(f"judged ({time.monotonic() - began:.1f} s)")
        if outcome.end == "?":
            outcome.end = found.end(self.site.base)

    def _well(self, verb: str, version: str, release: str | None = None) -> Ended:
        """Have a controller do *verb*, which has to succeed."""
        ended = self._do(verb, version, release=release)
        if ended.code != 0:
            raise AssertionError(f"{verb} ended with {ended.code}: {ended.error}")
        return ended

    def _do(self, verb: str, version: str, kill: Kill = NEVER, release: str | None = None) -> Ended:
        folder = self.site.folder
        if not self._local:
            shutil.rmtree(folder / "home", ignore_errors=True)
        ended = self.zygote.do(
            Order(
                verb=verb,
                target=self.site.target,
                project=str(self.site.project(version)),
                state=str(folder / "home"),
                log=str(folder / "log"),
                kill=kill,
                release=release,
            )
        )
        how = f"code {ended.code} {ended.state} {ended.kind} {ended.error}"
        killed = f"killed {kill.mode} {ended.hit}" if ended.hit else how
        self._steps.append(f"{verb} {version}: {killed} ({ended.seconds:.1f} s)")
        return ended

    @contextmanager
    def _contents(self, version: str, *, here: bool) -> Iterator[None]:
        """Take the source of *version* away, unless it is to be *here*."""
        project = self.site.project(version)
        away = project.with_suffix(".away")
        if not here:
            project.rename(away)
        try:
            yield
        finally:
            if not here:
                away.rename(project)


@dataclass(frozen=True)
class Last:
    """The controller that was not killed: what it did, and how that ended."""

    verb: str
    ended: Ended


def _allowed(case: Case, first: Ended, last: Last, journal: End) -> tuple[End, ...]:
    """
    Return the ends that *case* may come to.

    Args:
        case: which.
        first: the controller that was killed first.
        last: the one that was not killed.
        journal: the end that the journals tell of.
    """
    opened = any("run" in re.split(r"[ +]", name) for name, _ in first.effects[:-1])
    own: set[End] = {"old", "new"}
    codes = {0}
    if last.ended.state == "rolled_back" and last.verb == "resume":
        # 0 where it finished a rollback that a person had asked for.
        codes = {0, 1} if case.series == "undo" or case.nested else {1}
    asked = case.series == "undo" and opened
    if last.ended.state == "empty":  # it had not begun, so that there was nothing to undo
        pass
    elif last.verb == "rollback" or case.series == "back" or asked:
        own = {"old"}
    elif case.series == "forward" and case.here and not case.nested:
        own = {"new"} if opened else own
    return tuple(own & {journal}) if last.ended.code in codes else ()


def _slowest(case: Case) -> float:
    """Return for how long at most a kill may wait: mostly shortly, some as long as a command."""
    return Random(case.seed).choice((0.06, 0.06, 1.0))


def cases(effects: Mapping[Series, Iterable[Effect]], seed: int) -> list[Case]:
    """
    Return every effect of every series with each mode and each verb, in an order by *seed*.

    Where nothing or all of it was done, with and without local state; else by chance.
    """
    random = Random(seed)
    found = [
        Case(
            series=series,
            effect=number,
            mode=mode,
            recover=recover,
            here=random.random() < 0.7,
            local=local,
            nested=random.choice((0, 0, 0, 1, 2)),
            full=random.random() < 0.25,
            seed=random.randrange(1 << 20),
        )
        for series, listed in effects.items()
        for number, (_, sort) in listed
        for mode in MODES[sort]
        for recover in _VERBS
        for local in ((True, False) if mode in ("before", "after") else (random.random() < 0.5,))
    ]
    random.shuffle(found)
    return found
