"""
Three undoers: the controller itself, the guardians and a person, in every order, with freezes.

DEPLOYKIT_FAULTS_SEED repeats a sample, DEPLOYKIT_FAULTS_SECONDS says how long one may take (`inf`:
all cases), DEPLOYKIT_FAULTS_CASES names cases, with spaces between them.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import permutations
from random import Random, SystemRandom

import pytest

from tests.farm import Host, Hosts, eventually
from tests.faults.crew import Controller, Crew, Ended, Verb
from tests.faults.yard import Yard, undos

# Read here: the tests' own fixture empties the environment of such names.
SEED = int(os.environ.get("DEPLOYKIT_FAULTS_SEED", SystemRandom().randrange(1 << 16)))
SECONDS = float(os.environ.get("DEPLOYKIT_FAULTS_SECONDS", "60"))
CASES = os.environ.get("DEPLOYKIT_FAULTS_CASES", "").split()
ORDERS = ["".join(order) for order in permutations("CGP")]
TIMES_EACH = 20
WITHIN = 3  # seconds without a heartbeat until a guardian fires
BOUND = 90.0


@pytest.fixture(scope="module")
def yard(module_hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Return two servers; on the second, systemd runs the guardian."""
    made = Yard(
        module_hosts(2),
        tmp_path_factory.mktemp("undoers"),
        Crew(),
        holds=True,
        confirm_within=WITHIN,
    )
    made.prepare()
    made.hosts[1].root("loginctl enable-linger deploy")
    yield made
    made.crew.close()


@dataclass
class Race:
    """
    A run that has published, and those who are about to undo it.

    Args:
        yard: where.
        order: in which the controller (C), the guardians (G) and the person (P) begin.
        random: decides everything else.
        steps: what was done.
    """

    yard: Yard
    order: str
    random: Random
    steps: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """Go through it; return everything that is wrong."""
        self.before = self.yard.look()
        self.old = self.before[self.yard.hosts[0].name].current
        self.verb: Verb = self.random.choice(("resume", "rollback"))
        self.fails = self.verb == "resume" or self.random.random() < 0.5
        self.person: Controller | None = None
        self.yard.hold()
        self.controller = self.yard.crew.start(
            self.yard.order(
                "run",
                counts_from="stage_started hold",
                # Its two commands are effects, too.
                stops_at=self.random.choice((0, *range(3, 16))),
            )
        )
        with ExitStack() as stack:
            stack.callback(self._let_all_go)
            eventually(self._holds, within=BOUND, message="both hosts hold")
            for actor in self.order:
                {"C": self._controller, "G": self._guardian, "P": self._person}[actor]()
            self._let_all_go()
            # One may still come to where it is to stop; by now that is just a short sleep.
            eventually(self._is_ended, within=BOUND, message="the end of all controllers")
            ends = [one.ended() for one in self._crew]
        self.steps += [
            f"{one.order.verb}: {end}" for one, end in zip(self._crew, ends, strict=True)
        ]
        return [*self._wrong_words(*ends), *self._wrong_end()]

    @property
    def _crew(self) -> list[Controller]:
        return [self.controller, *([self.person] if self.person else [])]

    def _controller(self) -> None:
        """Have the controller go back by itself, until it stops somewhere in that or is done."""
        if self.fails:
            self.yard.let_go("fail")
            self.yard.let_go("let-go")
        else:
            self.controller.interrupt()
        self._until_still(self.controller)

    def _guardian(self) -> None:
        """Have no controller beat until a guardian has fired, or there is no reason for it."""
        for one in self._crew:
            one.freeze()
        many = self.random.choice((1, 2))
        end = time.monotonic() + 4 * WITHIN + 10
        while len(self._fired()) < many and time.monotonic() < end and not self._is_over():
            time.sleep(0.02)
        self.steps.append(f"fired on {self._fired()}, {many} waited for")
        if self.random.random() < 0.4:
            self._stand_still(self.random.choice(self.yard.hosts))

    def _person(self) -> None:
        """Have a person take the run over."""
        if self.verb == "rollback":
            # Were the run over by the time he is there, he would mean another one.
            self.controller.freeze()
        elif self.random.random() < 0.5:
            self.controller.thaw()
        if self.controller.has_ended and self.verb == "rollback":
            return
        self.person = self.yard.crew.start(
            self.yard.order(
                self.verb,
                takeover=True,
                counts_from="run_taken_over",
                stops_at=self.random.choice((0, *range(1, 12))),
            )
        )
        if self.verb == "resume" and not self._goes_back():
            taken = self.person
            eventually(lambda: taken.has_ended or taken.events("run_taken_over"), within=BOUND)
            self.yard.let_go("fail")
            self.yard.let_go("let-go")
        self._until_still(self.person)

    def _until_still(self, one: Controller) -> None:
        """Wait until *one* has stopped or ended; sometimes not so long."""
        within = self.random.choice((0.3, 1.0, 30.0, 30.0))
        end = time.monotonic() + within
        while time.monotonic() < end and not (one.stands or one.has_ended):
            time.sleep(0.01)
        how = "has ended" if one.has_ended else "stands" if one.stands else "is at work"
        stop = next((line["stops"] for line in one.lines() if "stops" in line), "")
        self.steps.append(f"{one.order.verb} {how} {stop}")

    def _stand_still(self, host: Host) -> None:
        """Freeze a host for a moment."""
        host.freeze()
        time.sleep(self.random.uniform(0.3, 3.0))  # so long does its machine stand still
        host.thaw()
        self.steps.append(f"{host.name} stood still")

    def _is_ended(self) -> bool:
        for one in self._crew:
            if one.stands:
                one.thaw()
        return all(one.has_ended for one in self._crew)

    def _let_all_go(self) -> None:
        for one in self.random.sample(self._crew, len(self._crew)):
            one.thaw()
        # Whoever went forward again is turned back.
        self.yard.let_go("fail")
        self.yard.let_go("let-go")

    def _holds(self) -> bool:
        assert not self.controller.has_ended, self.controller.ended()
        run = next((line["run"] for line in self.controller.events("stage_started")), "")
        logs = [sight.log for sight in self.yard.look().values()]
        return bool(run) and all(f"hold of {run}" in log for log in logs)

    def _run_id(self) -> str:
        return str(self.controller.events("stage_started")[0]["run"])

    def _records(self) -> dict[str, tuple[dict[str, object], ...]]:
        run = self._run_id()
        return {name: sight.journals.get(run, ()) for name, sight in self.yard.look().items()}

    def _fired(self) -> list[str]:
        return [
            name
            for name, records in self._records().items()
            if any(record.get("by") == "guardian" for record in records)
        ]

    def _goes_back(self) -> bool:
        return any(r.get("kind") == "back" for own in self._records().values() for r in own)

    def _is_over(self) -> bool:
        return self.yard.histories()[self._run_id()].state == "rolled_back"

    def _wrong_words(self, first: Ended, person: Ended | None = None) -> list[str]:
        """Return what those who took part have said that is not so."""
        wrong = []
        taken = bool(self.person and self.person.events("run_taken_over"))
        if first.code == 4:
            if not taken or "taken over" not in first.error:
                wrong.append(f"nobody took the run over from it: {first}")
        elif first.code not in ((1,) if self.fails else (1, 130)) or first.state != "rolled_back":
            wrong.append(f"the controller says: {first}")
        if person is not None:
            done = {"resume": (1, "rolled_back"), "rollback": (0, "rolled_back")}[self.verb]
            said = (person.code, person.state)
            # Where a guardian has fenced both, the first that wakes up goes on with the way back.
            lost = person.code == 4 and "taken over" in person.error and bool(self._fired())
            if lost and first.code == 4:
                wrong.append(f"each says that the other has the run: {first}, {person}")
            if said != done and (said != (0, "") or self.verb != "resume") and not lost:
                wrong.append(f"the person is told: {person}")
        return wrong

    def _wrong_end(self) -> list[str]:
        """Return what is wrong with the hosts; what ends by itself is given a moment."""
        end = time.monotonic() + 10
        while True:
            wrong = self._looked()
            if not wrong or time.monotonic() > end:
                return wrong
            time.sleep(0.1)

    def _looked(self) -> list[str]:
        run = self._run_id()
        sights = self.yard.look()
        wrong = self.yard.wrong(self.old)
        state = self.yard.histories(sights)[run].state
        if state != "rolled_back":
            wrong.append(f"the run is {state}")
        for name, sight in sights.items():
            done = undos(sight.journals[run])
            if done != ["0"]:
                wrong.append(f"{name}: the undo of the publish ended {done}")
            line = f"start {self.old}"
            starts = sight.log.get(line, 0) - self.before[name].log.get(line, 0)
            if starts != 1:
                wrong.append(f"{name}: the old release was started {starts} times")
        return wrong

    def told(self) -> str:
        """Return everything in a few lines, for a report."""
        lines = list(self.steps)
        has_begun = self.controller.events("stage_started")
        for name, records in self._records().items() if has_begun else ():
            words = [
                f"{r.get('kind')}:{r.get('id') or r.get('stage') or r.get('by') or ''}"
                f"@{r.get('epoch')}"
                for r in records
                if r.get("kind") != "plan"
            ]
            lines.append(f"{name}: {' '.join(words)}")
        return "\n".join(lines)


def test_three_undoers(yard: Yard, capfd: pytest.CaptureFixture[str]) -> None:
    """One undo of the publish on each host, once, and nobody says what is not so."""
    random = Random(SEED)
    drawn = [f"{order}.s{random.randrange(1 << 16)}" for order in ORDERS * TIMES_EACH]
    end = time.monotonic() + SECONDS
    failed = []
    with capfd.disabled():
        print(f"\nthree undoers: DEPLOYKIT_FAULTS_SEED={SEED}", end="", flush=True)
        for case in CASES or drawn:
            if time.monotonic() > end:
                break
            began = time.monotonic()
            wrong, told = _raced(yard, case)
            line = f"\n{case} {time.monotonic() - began:.1f} s: {told}"
            print("\n  ".join([line, *wrong]), end="", flush=True)
            failed += [case] if wrong else []
    assert not failed


def _raced(yard: Yard, case: str) -> tuple[list[str], str]:
    """Go through a case; return what is wrong, and what was done."""
    race = Race(yard, case.partition(".")[0], Random(case))
    try:
        wrong = race.run()
    except pytest.exit.Exception:  # somebody ends the tests
        raise
    except Exception:  # noqa: BLE001 - whatever it was, it belongs to this case
        wrong = [traceback.format_exc()]
    if not wrong:
        return [], "; ".join(race.steps)
    told = race.told()
    for one in race._crew:
        one.kill()
    for host in yard.hosts:
        host.recover()
    if yard.unfinished() or any(sight.locked for sight in yard.look().values()):
        yard.do("rollback", takeover=True)
    return wrong, told
