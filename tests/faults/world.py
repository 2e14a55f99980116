"""
The world's faults: a run that meets one at some moment, whoever has to end it, and a verdict.

A case is a word such as `cut-for-good.migrate.s123`, by which it can be repeated.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Literal

import psycopg
import pytest

from deploykit import Environment
from deploykit.engine.journal import History
from tests.farm import eventually
from tests.faults import site as shop_site
from tests.faults.crew import TIMES, Controller, Crew, Ended, Order, Verb
from tests.faults.evidence import End, Evidence, evidence, judge
from tests.faults.site import Site
from tests.faults.troubles import SLOTS, TROUBLES, Place, Trouble
from tests.faults.writer import Writer

__all__ = ["Case", "Outcome", "World", "cases", "environment"]

STAGES = (*("transfer", "install", "backup", "pause", "migrate", "restart", "smoke-test", "prune"),)
BACK = {
    "back": "rollback_started",
    "back-restart": "stage_undone restart",
    "back-migrate": "stage_undone migrate",
}
"""Moments of a run that its smoke test turns back."""

BOUND = 120.0  # seconds within which a run has to end, whatever happens
NOTICED = 10.0  # seconds for which a trouble that is to be noticed is there at most
AT_WORK = 30.0  # seconds for which "its controller is at work" is believed
MOMENT = 25.0  # seconds for what is ending by itself, such as a session that sshd gives up


def environment(target: dict[str, str], project: str, confirm_within: float) -> Environment:
    """Return the environment of the kill matrix, whose guardian waits *confirm_within* seconds."""
    made = shop_site.environment(target, Path(project))
    return replace(made, pipeline=replace(made.pipeline, confirm_within=confirm_within))


@dataclass(frozen=True)
class Case:
    """
    One trouble at one moment.

    Args:
        trouble: which.
        moment: a stage's name, which is then about to begin, or one of `BACK`.
        seed: of everything else.
    """

    trouble: Trouble
    moment: str
    seed: int

    def __str__(self) -> str:
        return f"{self.trouble}.{self.moment}.s{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Case:
        """Return the case that `str` wrote as *text*."""
        name, moment, seed = text.split(".")
        return cls(next(t for t in TROUBLES if str(t) == name), moment, int(seed[1:]))

    @property
    def ends(self) -> tuple[int | None, ...]:
        """The exit codes that the run may end with; None: it may be killed."""
        trouble = self.trouble
        if trouble.kills:  # and if it does not, nothing is wrong with that server
            return (None, 1 if self.moment in BACK else 0)
        return (*trouble.ends, 3) if trouble.lasts and trouble.gone else trouble.ends

    @property
    def event(self) -> str:
        """What the controller tells of when the moment has come."""
        return BACK.get(self.moment, f"stage_started {self.moment}")


@dataclass
class Outcome:
    """
    What came of a case.

    Args:
        case: which.
        end: what it came to.
        code: how the run ended; None if it was killed.
        wrong: everything that should not be so.
        bound: seconds after which the run had ended.
        recovery: seconds of all the controllers that ended it afterwards.
        seconds: of the whole case.
        steps: what was done, and how long each took.
        told: the server, for a report; empty where nothing is wrong.
    """

    case: Case
    end: End | Literal["?"] = "?"
    code: int | None = None
    wrong: list[str] = field(default_factory=list)
    bound: float = 0.0
    recovery: float = 0.0
    seconds: float = 0.0
    steps: list[str] = field(default_factory=list)
    told: str = ""

    def line(self) -> str:
        """Return one line; more where something is wrong."""
        recovered = f", recovered in {self.recovery:4.1f} s" if self.recovery else ""
        line = (
            f"{self.end:7} {self.seconds:5.1f} s, ended {self.code} in {self.bound:4.1f} s"
            f"{recovered}  {self.case}"
        )
        return "\n".join([line, *self.wrong, *self.steps, self.told]) if self.wrong else line


class World:
    """
    A server in which things go wrong.

    Args:
        site: not prepared yet; its host has a disk of its own size.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.crew = Crew()
        self._count = 0
        self._old_runs: set[str] = set()
        self._steps: list[str] = []

    def begin(self, wheels: Path) -> None:
        """Prepare the server, deploy v1 twice, and keep that state."""
        self.site.prepare(wheels)
        host = self.site.host
        host.write("/etc/ssh/sshd_config.d/10-alive.conf", "ClientAliveInterval 5\n")
        host.root(
            # Who knows of the cut connection nothing but that it is silent, gives it up.
            "sed -i '1i ClientAliveCountMax 2' /etc/ssh/sshd_config.d/10-alive.conf\n"
            "systemctl reload ssh.service; systemctl enable -q postgresql@15-main\n"
            f"echo 'max_connections = {SLOTS}' >>/etc/postgresql-farm.conf\n"
            "systemctl restart postgresql@15-main"
        )
        for _ in range(2):
            release = self._well("run", "v1", Place(self.site, Random(0))).release
        # The guardian takes its files away when it has seen that the run is over.
        eventually(lambda: not evidence(self.site).temporary, within=MOMENT)
        self.site.keep("old", release)
        self._old_runs = set(evidence(self.site).journals)

    def close(self) -> None:
        """End all controllers."""
        self.crew.close()

    def run(self, case: Case) -> Outcome:
        """Go through *case*, having put the server to where it begins."""
        began = time.monotonic()
        outcome = Outcome(case)
        self._steps = outcome.steps
        place = Place(self.site, Random(str(case)), times=case.trouble.times)
        try:
            self.site.restore("old")
            shutil.rmtree(self.site.folder / "home", ignore_errors=True)
            with Writer(self.site, f"s{case.seed}") as writer:
                eventually(lambda: writer.acknowledged, within=10)
                self._go_through(case, place, outcome, writer)
        except pytest.exit.Exception:  # somebody ends the tests
            raise
        except Exception:  # noqa: BLE001 - also a server that does not come back is an outcome
            outcome.wrong.append(traceback.format_exc())
        finally:
            self.site.host.recover()
        outcome.seconds = time.monotonic() - began
        return outcome

    def _go_through(self, case: Case, place: Place, outcome: Outcome, writer: Writer) -> None:
        version = "broken" if case.moment in BACK else "v2"
        with self._healed(case.trouble, place):
            case.trouble.prepare(place)
            ended = self._troubled(case, place, version)
        outcome.code, outcome.bound = ended.code, ended.seconds
        if ended.code not in case.ends:
            outcome.wrong.append(f"the run ended with {ended.code}")
        if ended.seconds > BOUND:
            outcome.wrong.append(f"the run took {ended.seconds:.0f} s")
        last = self._recover(case, place, version, ended, outcome)
        self._expect(case, outcome, self._allowed(last, ended), writer)
        if not outcome.wrong:
            self._well("run", "v2", place)
            self._expect(case, outcome, ("new",), writer)

    @contextmanager
    def _healed(self, trouble: Trouble, place: Place) -> Iterator[None]:
        """Take the trouble back in the end, whatever becomes of the run."""
        try:
            yield
        finally:
            trouble.heal(place)

    def _troubled(self, case: Case, place: Place, version: str) -> Ended:
        """Have a run that meets the trouble, and wait for its end."""
        trouble, random = case.trouble, place.random
        within = random.choice((90.0, 8.0))
        order = self._order("run", version, place, waits_at=case.event)
        order.words["confirm_within"] = within
        place.controller = run = self.crew.start(replace(order, ahead=trouble.ahead[0]))
        eventually(lambda: run.waits or run.has_ended, within=BOUND, message=f"{case.event}")
        if run.has_ended:
            return run.ended()
        late = random.choice((0.0, 0.0, 0.02, 0.2, 0.6))
        if late:
            run.go()
            time.sleep(late)  # so long as it takes the run to get somewhere
        began = time.monotonic()
        trouble.strike(place)
        self._steps.append(
            f"{trouble} struck at {case.event} {late:+} s, took {time.monotonic() - began:.1f} s, "
            f"guardian after {within} s"
        )
        run.go()
        if not (trouble.lasts or trouble.over_at_once):
            self._until_noticed(trouble, place, run)
            trouble.heal(place)
            self._steps.append(f"healed after {time.monotonic() - began:.1f} s")
        ended = run.wait(BOUND + 10)
        self._steps.append(f"run {version}: {ended}")
        return ended

    def _until_noticed(self, trouble: Trouble, place: Place, run: Controller) -> None:
        end = time.monotonic() + NOTICED
        while time.monotonic() < end and not (run.has_ended or trouble.is_noticed(place)):
            time.sleep(0.02)

    def _recover(
        self, case: Case, place: Place, version: str, ended: Ended, outcome: Outcome
    ) -> Ended:
        """Have somebody else finish or undo the run, if it needs that; return how it ended."""
        found = self._look()
        if not found.unfinished() and not found.locked:
            return ended
        # After its last stage a run may be done sooner than the trouble: then it has to say so.
        told = place.controller is not None and place.controller.events("lock_not_freed")
        was_over = not case.trouble.lasts and not (told and not found.unfinished())
        if ended.code in (0, 1) and was_over and not case.trouble.kills:
            # The trouble was over before the run was: there was nothing in its way.
            outcome.wrong.append(f"left behind: {found.unfinished()}, locked {found.locked}")
        began = time.monotonic()
        verb: Verb = place.random.choice(("resume", "rollback"))
        if not found.unfinished():
            verb = "resume"
        if place.random.random() < 0.5:
            shutil.rmtree(self.site.folder / "home", ignore_errors=True)
        while True:
            order = replace(self._order(verb, version, place), ahead=case.trouble.ahead[1])
            last = self.crew.start(order).wait(BOUND)
            self._steps.append(f"{verb}: {last}")
            if last.kind != "StillAtWork" or time.monotonic() > began + AT_WORK:
                break
            time.sleep(0.2)
        outcome.recovery = time.monotonic() - began
        return last

    def _allowed(self, last: Ended, ended: Ended) -> tuple[End, ...]:
        """Return the ends that all who took part, and the journals, agree on."""
        state = last.state or self._state_of(ended.run)
        if last.code in (0, 1, 3) and state == "rolled_back":  # 3: it could not be measured
            return ("old",)
        if last.code == 0 and state in ("confirmed", "sealed"):
            return ("new",)
        if last.code == 0 and state == "":  # it had not come so far as to write anything
            return ("old",)
        return ()

    def _state_of(self, run: str) -> str:
        """Return what the journals say of *run*, or else of the only run of this case."""
        journals = self._look().journals
        own = [run] if run else sorted(set(journals) - self._old_runs)
        return History(own[0], {"web": journals[own[0]]}).state if own else ""

    def _expect(self, case: Case, outcome: Outcome, allowed: Sequence[End], writer: Writer) -> None:
        """Judge the server; what is ending by itself is given a moment for it."""
        began = time.monotonic()
        kept = list(writer.acknowledged)
        while True:
            found = self._look()
            runs = set(found.journals) - self._old_runs
            wrong = judge(self.site, _settled(found), runs, allowed, kept)
            if not case.trouble.starts:
                wrong = [line for line in wrong if ": start " not in line]
            if not wrong or time.monotonic() > began + MOMENT:
                break
            time.sleep(0.1)
        if wrong:
            outcome.told = found.told(runs)
        outcome.wrong += wrong
        self._steps.append(f"judged ({time.monotonic() - began:.1f} s)")
        if outcome.end == "?":
            outcome.end = found.end(self.site.base)

    def _look(self) -> Evidence:
        """Return what is on the server, whose database may be starting still."""
        return eventually(
            lambda: evidence(self.site), within=MOMENT, failing=psycopg.OperationalError
        )

    def _well(self, verb: Verb, version: str, place: Place) -> Ended:
        """Have a controller do *verb*, which has to succeed."""
        ended = self.crew.start(self._order(verb, version, place)).wait(BOUND)
        self._steps.append(f"{verb} {version}: {ended}")
        if ended.code != 0:
            raise AssertionError(f"{verb} ended with {ended.code}: {ended.error}")
        return ended

    def _order(self, verb: Verb, version: str, place: Place, waits_at: str = "") -> Order:
        self._count += 1
        folder = self.site.folder
        words: dict[str, Any] = {
            "target": self.site.target,
            "project": str(self.site.project(version)),
            "confirm_within": 90.0,
        }
        return Order(
            verb=verb,
            made_by="tests.faults.world:environment",
            words=words,
            home=str(folder / "home"),
            log=str(folder / "logs" / f"{self._count}"),
            times={**TIMES, **place.times},
            waits_at=waits_at,
        )


def _settled(found: Evidence) -> Evidence:
    """Return *found* with an end for each command that the death of the host cut short."""
    journals = {run: _with_ends(records) for run, records in found.journals.items()}
    return replace(found, journals=journals)


def _with_ends(records: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    ended = {record["id"] for record in records if record.get("kind") == "ended"}
    torn = [r for r in records if r.get("kind") == "began" and r.get("id", "") not in {"", *ended}]
    last = records[-1]["seq"] if records else 0
    ends = [
        {**record, "kind": "ended", "rc": -1, "stopped": True, "seq": last + number}
        for number, record in enumerate(torn, 1)
    ]
    return (*records, *ends)


def cases(seed: int) -> list[Case]:
    """Return every trouble at every moment, in an order by *seed*."""
    random = Random(seed)
    found = [
        Case(trouble, moment, random.randrange(1 << 16))
        for trouble in TROUBLES
        for moment in (*STAGES, *BACK)
    ]
    random.shuffle(found)
    return found
