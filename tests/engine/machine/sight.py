"""What hosts are seen to be like, and what must hold of that (DESIGN: "A run")."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from deploykit.engine.journal import History, Record, State, parse
from deploykit.release import Ledger
from tests.engine.machine.fakes import Fake
from tests.engine.machine.world import World

__all__ = ["Course", "Effect", "Sight", "Site"]

FORWARD: tuple[State, ...] = ("empty", "planned", "forward", "confirmed", "sealed")
BACK: tuple[State, ...] = ("needs_rollback", "back", "stuck")
Values = Mapping[str, str]


@dataclass(frozen=True)
class Effect:
    """
    One line of the log: something that a command did on a host.

    Args:
        run: whose command.
        name: the command's, without its attempt.
        attempt: of that command: the turn back it is part of, and `-N` where it is repeated.
        host: where.
        stage: its name.
        direction: `apply` or `undo`.
        key: of the item.
        value: what the item was set to.
    """

    run: str
    name: str
    attempt: str
    host: str
    stage: str
    direction: str
    key: str
    value: str

    @classmethod
    def of(cls, line: str) -> Effect:
        """Read a line."""
        command, *words = line.split(" ")
        run, _, ident = command.partition("/")
        name, _, attempt = ident.rpartition(".")
        return cls(run, name, attempt, *words)

    @property
    def ident(self) -> str:
        """Return the command's id."""
        return f"{self.name}.{self.attempt}"

    @property
    def item(self) -> str:
        """Return what was set."""
        return f"{self.stage}.{self.key}"


@dataclass(frozen=True)
class Site:
    """
    What is deployed, and where.

    Args:
        world: the hosts.
        names: their labels, as far as they are used.
        stages: in order.
        hosts: of each stage, by its name.
    """

    world: World
    names: tuple[str, ...]
    stages: tuple[Fake, ...]
    hosts: Mapping[str, tuple[str, ...]]

    @cached_property
    def order(self) -> Mapping[str, int]:
        """Return the place of each stage in the pipeline."""
        return {stage.name: at for at, stage in enumerate(self.stages)}

    def items(self, host: str) -> tuple[str, ...]:
        """Return what a rollback restores on *host*."""
        return tuple(
            f"{stage.name}.{item.key}"
            for stage in self.stages
            if host in self.hosts[stage.name] and not stage.after_confirmed
            for item in stage.items
        )

    def folder(self, host: str) -> Path:
        """Return where the root of *host* is seen from here."""
        return self.world.farm.machines[host].outside(self.world.root)

    def values(self, host: str) -> dict[str, str]:
        """Return what the items are now that a rollback restores."""
        there = self.folder(host) / "shared" / "set"
        files = {item: there / item for item in self.items(host)}
        return {item: file.read_text().strip() for item, file in files.items() if file.exists()}

    def pass_time(self) -> None:
        """Let the last sign of life of every controller be a minute ago."""
        for host in self.names:
            beat = self.folder(host) / ".deploykit" / "lock" / "heartbeat"
            if beat.exists():
                os.utime(beat, (time.time() - 60, time.time() - 60))

    def found(self) -> None:
        """Make on every host what stages expect there."""
        for name in self.names:
            shared = self.folder(name) / "shared"
            (shared / "set").mkdir(parents=True)
            (shared / "trouble").mkdir()
            (shared / "common").symlink_to(self.world.common)

    def look(self) -> Sight:
        """Look at everything."""
        log = self.world.common / "log"
        private = {host: self.folder(host) / ".deploykit" for host in self.names}
        journals: dict[str, dict[str, tuple[Record, ...]]] = {}
        for host, folder in private.items():
            for file in folder.glob("runs/*/journal.jsonl"):
                records = tuple(parse(file.read_text()))
                journals.setdefault(file.parent.name, dict.fromkeys(self.names, ()))[host] = records
        locks = {host: folder / "lock" / "run" for host, folder in private.items()}
        ledgers = {host: folder / "releases.jsonl" for host, folder in private.items()}
        runs = [History(run, records) for run, records in journals.items()]
        return Sight(
            self,
            tuple(Effect.of(line) for line in log.read_text().splitlines()) if log.exists() else (),
            {run.run: run for run in sorted(runs, key=_epoch)},
            {host: file.read_text().strip() for host, file in locks.items() if file.exists()},
            {host: self.values(host) for host in self.names},
            {
                host: Ledger.of(parse(file.read_text()))
                for host, file in ledgers.items()
                if file.exists()
            },
        )


@dataclass(frozen=True)
class Sight:
    """
    Everything that can be seen from outside.

    Args:
        site: what is looked at.
        log: all effects, in their order across hosts.
        runs: by id, in order.
        locks: who holds the lock, by host.
        values: the items of each host.
        ledgers: the releases of each host.
    """

    site: Site
    log: tuple[Effect, ...]
    runs: Mapping[str, History]
    locks: Mapping[str, str]
    values: Mapping[str, Values]
    ledgers: Mapping[str, Ledger] = field(repr=False)

    @property
    def unfinished(self) -> tuple[History, ...]:
        """Return the runs that nothing but a resume or rollback of may go on."""
        return tuple(run for run in self.runs.values() if run.opening and run.unfinished)

    def touched_since(self, before: Sight) -> list[str]:
        """Return what a controller did: to effects, items, records of runs."""
        if any(run.running() for run in before.runs.values()):
            return []  # a command that outlived its controller did it
        return [
            name
            for name, same in (
                ("log", self.log == before.log),
                ("items", self.values == before.values),
                ("journals", self._done == before._done),
            )
            if not same
        ]

    @property
    def _done(self) -> list[tuple[str, str, Record]]:
        """Return what is recorded of runs, but for what they mean to do."""
        return [
            (run.run, host, record)
            for run in self.runs.values()
            for host, records in run.records.items()
            for record in records
            if record["kind"] not in ("run", "plan")
        ]

    def check(self, *, may_leave_behind: bool, was_guarded: bool) -> None:
        """
        Check all that must hold whenever no controller is at work.

        Args:
            may_leave_behind: a host may have been gone for a while, and then later stages stay
                undone on it while the others go back as far as their publish.
            was_guarded: a guardian has fired, which knows of its own host only, and brings back
                only what publishes and what pauses.
        """
        self._check_receipts()
        for run in self.runs.values():
            self._check_direction(run, was_guarded=was_guarded)
            self._check_attempts(run)
            if run.opening and run.opening["action"] == "deploy" and not run.unfinished:
                self._check_counts(run)
                self._check_ledger(run)
        self._check_order(may_leave_behind, was_guarded)

    def _check_receipts(self) -> None:
        """Each command had its effect once, and `began` stood before that."""
        counts = Counter((e.host, e.run, e.ident, e.item) for e in self.log)
        twice = [unit for unit, count in counts.items() if count > 1]
        assert not twice, f"done twice: {twice}"
        for run in self.runs.values():
            for host, records in run.records.items():
                for kind in ("began", "ended"):
                    idents = [r["id"] for r in records if r["kind"] == kind and "id" in r]
                    assert len(set(idents)) == len(idents), f"two receipts {kind} on {host}"
                sequence = [record["seq"] for record in records]
                assert all(a < b for a, b in pairwise(sequence)), f"{host} counts {sequence}"
        began = {
            (host, run.run, record["id"])
            for run in self.runs.values()
            for host, record in run.all("began")
            if "id" in record
        }
        unknown = {unit for unit in counts if unit[:3] not in began}
        assert not unknown, f"no receipt: {unknown}"

    def _check_direction(self, run: History, *, was_guarded: bool) -> None:
        """Nothing goes forward after `back`, on the same host or on another."""
        for host, records in run.records.items():
            kinds = [(r["kind"], r.get("direction", "apply")) for r in records]
            turned = next((at for at, (kind, _) in enumerate(kinds) if kind == "back"), len(kinds))
            onward = [k for k in kinds[turned:] if k[1] == "apply" and k[0] in ("began", "applied")]
            assert not onward, f"{host} went forward again: {onward}"
            backward = [k for k in kinds[:turned] if k[1] == "undo"]
            assert not backward, f"{host} went back without saying so: {backward}"
            over = next((at for at, k in enumerate(kinds) if k[0] == "rolled_back"), len(kinds))
            more = [k for k in kinds[over:] if k[0] in ("began", "undone", "stuck", "confirmed")]
            assert not more, f"{host} went on after it was rolled back: {more}"
        if not was_guarded:
            directions = [effect.direction for effect in self.log if effect.run == run.run]
            assert directions == sorted(directions), f"forward again: {directions}"

    def _check_attempts(self, run: History) -> None:
        """A command is tried again only if it was torn, or in another turn back."""
        backs = max(sum(r["kind"] == "back" for r in records) for records in run.records.values())
        for host, records in run.records.items():
            ended = {record["id"] for record in records if record["kind"] == "ended"}
            began = [r for r in records if r["kind"] == "began" and "id" in r]
            for record in began:
                name, _, attempt = record["id"].rpartition(".")
                turn, _, again = attempt.partition("-")
                turns = backs if record["direction"] == "undo" else 1
                assert 1 <= int(turn) <= turns, f"{host}: {record['id']} in turn {turns}"
                before = [f"{name}.{turn}", *(f"{name}.{turn}-{n}" for n in range(1, 9))]
                torn = [r["id"] for r in began if r["id"] in before and r["id"] not in ended]
                assert int(again or 0) <= len(torn), f"{host}: {record['id']} without a reason"

    def _check_order(self, may_leave_behind: bool, was_guarded: bool) -> None:
        """A stage begins when those before it are done everywhere, and is undone in the reverse."""
        now: dict[tuple[str, str], str] = {}
        ever: set[tuple[tuple[str, str], str]] = set()
        links = [at for at, stage in enumerate(self.site.stages) if stage.publishes]
        for effect in self.log:
            at = self.site.order[effect.stage]
            stage = self.site.stages[at]
            unit = effect.host, effect.item
            if effect.direction == "apply":
                ever.add((unit, effect.run))
                wrong = [i for i in self._logged(0, at) if (i, effect.run) not in ever]
                assert not wrong, f"{effect} began before {wrong}"
            elif not (
                (may_leave_behind and links and links[0] <= at)
                or (was_guarded and (stage.publishes or stage.pauses))
            ):
                wrong = [i for i in self._logged(at + 1) if now.get(i) == effect.run]
                assert not wrong, f"{effect} was undone under {wrong}"
            now[unit] = effect.value

    def _logged(self, first: int, end: int | None = None) -> Iterator[tuple[str, str]]:
        """Yield what commands set in the stages from *first* to before *end*."""
        for stage in self.site.stages[first:end]:
            if not stage.after_confirmed:
                for host in self.site.hosts[stage.name]:
                    for item in stage.items:
                        if "put" not in (item.does, item.undoes):
                            yield host, f"{stage.name}.{item.key}"

    def _check_counts(self, run: History) -> None:
        """All is applied and nothing undone; or what has begun is undone, and nothing else."""
        done = Counter(
            (effect.host, effect.item, effect.direction)
            for effect in self.log
            if effect.run == run.run
        )
        touched = run.touched()
        is_forward = run.state in FORWARD
        for stage in self.site.stages:
            for host in self.site.hosts[stage.name]:
                for item in stage.items:
                    unit = host, f"{stage.name}.{item.key}"
                    applied, undone = done[*unit, "apply"], done[*unit, "undo"]
                    if item.does == "once":
                        assert applied <= 1, f"{unit} was applied {applied} times"
                    if is_forward and item.does != "put" and not stage.after_confirmed:
                        assert applied, f"{unit} was never applied"
                    if is_forward or stage.after_confirmed:
                        assert not undone, f"{unit} was undone"
                    elif item.undoes != "put":
                        assert bool(undone) == ((stage.name, host) in touched), f"{unit}: {undone}"

    def _check_ledger(self, run: History) -> None:
        """The release is good where its run is confirmed, and bad where it went back."""
        opening = run.opening or {}
        if not opening["content"]:
            return
        wanted = "good" if run.state in FORWARD else "bad"
        for host in opening["hosts"]:
            line = self.ledgers[host].find(opening["release"])
            assert line, f"{host} knows nothing of {opening['release']}"
            assert line.state == wanted, f"{host}: the release is {line.state}, not {wanted}"


@dataclass
class Course:
    """What runs came to, as far as it was seen: how they may go on, and what hosts must be like."""

    site: Site
    states: dict[str, State] = field(default_factory=dict)

    def follow(self, sight: Sight) -> None:
        """Check that every run went on as it may, and hosts are as the finished ones left them."""
        live = ""
        for ident, run in sight.runs.items():
            if run.opening and run.opening["action"] == "deploy":
                last, state = self.states.get(ident, "planned"), run.state
                assert _may_become(last, state), f"{ident}: {last} became {state}"
                self.states[ident] = state
                live = ident if state in ("confirmed", "sealed") else live
        if not sight.unfinished:
            items = {host: self.site.items(host) if live else () for host in self.site.names}
            wanted = {host: dict.fromkeys(names, live) for host, names in items.items()}
            assert sight.values == wanted, f"hosts are {sight.values}, not {wanted}"


def _may_become(last: State, state: State) -> bool:
    if last in BACK:
        return state in (*BACK, "rolled_back")
    if last == "rolled_back":
        return state == "rolled_back"
    return state not in FORWARD or FORWARD.index(last) <= FORWARD.index(state)


def _epoch(run: History) -> int:
    return int((run.opening or {}).get("epoch", 0))
