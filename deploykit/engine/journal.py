"""
The append-only record of a run, and what it means.

A record is one JSON object: `{"v", "seq", "run", "epoch", "at", "host", "kind", "stage",
"direction", "key", "attempt", …}`. Kinds: `run plan began ended applied undone back confirmed
sealed`, the two ends of going back, `rolled_back` and `stuck`, and of the guardian `armed`,
`fired` and `needs_rollback`. Only the runner on the host writes them; here they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from deploykit import codec
from deploykit.errors import JournalError
from deploykit.stage import AnyStage

__all__ = ["GOING_BACK", "History", "Record", "State", "parse"]

Record = dict[str, Any]
State = Literal[
    "empty",
    "planned",
    "forward",
    "confirmed",
    "sealed",
    "needs_rollback",
    "back",
    "rolled_back",
    "stuck",
]
UNFINISHED: frozenset[State] = frozenset(
    {"empty", "planned", "forward", "needs_rollback", "back", "stuck"}
)
GOING_BACK: frozenset[State] = frozenset({"needs_rollback", "back", "stuck", "rolled_back"})


def parse(text: str) -> list[Record]:
    """Return the records in *text*; a torn line, wherever it stands, is skipped."""
    records = []
    for line in text.split("\n"):  # not splitlines: JSON may hold U+2028 and its like as they are
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


@dataclass(frozen=True)
class History:
    """
    A run as its hosts' journals tell it.

    Args:
        run: its id.
        records: those of each host, in order.
    """

    run: str
    records: Mapping[str, tuple[Record, ...]]

    def all(self, kind: str) -> Iterable[tuple[str, Record]]:
        """Return every host's records of *kind*."""
        return (
            (host, record)
            for host, records in self.records.items()
            for record in records
            if record.get("kind") == kind
        )

    def has(self, kind: str) -> bool:
        """Return whether any host has a record of *kind*."""
        return any(True for _ in self.all(kind))

    @cached_property
    def opening(self) -> Record | None:
        """The `run` record, the same on every host; None if the run never got so far."""
        return next((record for _, record in self.all("run")), None)

    @property
    def state(self) -> State:
        """Where in its life the run is (DESIGN: "A run")."""
        if self.opening is None:
            return "empty"
        if self._everywhere("rolled_back"):
            return "rolled_back"
        # A rollback has no way back itself: it is stuck until a later try of it is confirmed.
        if self.has("back") and not (self._is_rollback and self._is_confirmed):
            return "stuck" if self._stuck() else "back"
        if self.has("needs_rollback"):
            return "needs_rollback"
        if self._is_confirmed:
            return "sealed" if self.has("sealed") else "confirmed"
        begun = any(self.has(kind) for kind in ("began", "applied"))
        return "forward" if begun else "planned"

    @property
    def unfinished(self) -> bool:
        """Return whether nothing but a resume or rollback of this run may go on."""
        return self.state in UNFINISHED

    @property
    def must_stay_locked(self) -> bool:
        """Return whether something is left for a resume or rollback."""
        return self.opening is not None and self.unfinished

    @property
    def written_ahead(self) -> bool:
        """Return whether every host has all its plans: before that, nothing was touched."""
        if self.opening is None:
            return False
        for host in self.opening["hosts"]:
            records = self.records.get(host, ())
            opened = next((r for r in records if r.get("kind") == "run"), None)
            plans = sum(1 for record in records if record.get("kind") == "plan")
            if opened is None or plans < opened.get("plans", 0):
                return False
        return True

    @property
    def _is_rollback(self) -> bool:
        return (self.opening or {}).get("action") == "rollback"

    @property
    def _is_confirmed(self) -> bool:
        return self._everywhere("confirmed")

    def _everywhere(self, kind: str) -> bool:
        """Return whether the run's hosts, as far as their journals are known, all have *kind*."""
        hosts = set((self.opening or {}).get("hosts", ())) & set(self.records)
        return bool(hosts) and {host for host, _ in self.all(kind)} >= hosts

    def _stuck(self) -> bool:
        """Return whether the last turn back has ended in `stuck` on some host."""
        return any(
            [r["kind"] for r in records if r.get("kind") in ("back", "stuck")][-1:] == ["stuck"]
            for records in self.records.values()
        )

    def stages(self) -> dict[str, AnyStage]:
        """
        Rebuild the stages by name, in order, from the journal alone.

        Raises:
            JournalError: a stage's class cannot be imported here.
        """
        if self.opening is None:
            raise JournalError(f"run {self.run} has no opening record on any host")
        return {entry["name"]: codec.decode(entry["stage"]) for entry in self.opening["stages"]}

    def plans(self) -> dict[tuple[str, str], Any]:
        """Return the plans by stage name and host."""
        return {
            (record["stage"], host): codec.decode(record["plan"])
            for host, record in self.all("plan")
        }

    def done(self, kind: str, attempt: int | None = None) -> set[tuple[str, str]]:
        """Return the units, by stage name and host, with a record of *kind* (of that attempt)."""
        return {
            (record["stage"], host)
            for host, record in self.all(kind)
            if attempt is None or record.get("attempt", 1) == attempt
        }

    def touched(self) -> set[tuple[str, str]]:
        """
        Return the units, by stage name and host, that may have had an effect.

        Every effect is preceded by a `began` record, so nothing else needs to be undone.
        """
        return {
            (record["stage"], host)
            for kind in ("began", "applied")
            for host, record in self.all(kind)
            if record.get("direction", "apply") == "apply"
        }

    def turns(self, host: str) -> int:
        """Return how often *host* was told that the run goes back."""
        return sum(1 for record in self.records[host] if record.get("kind") == "back")

    def attempt(self) -> int:
        """Return the number of the current turn back, 1 for the first."""
        return max([1, *map(self.turns, self.records)])

    def running(self) -> list[tuple[str, str]]:
        """
        Return host and id of every command that began and has no end.

        Not those of the current turn back, which a guardian or an earlier controller may have
        begun: their own undo waits for them.
        """
        turn = ("undo", self.attempt())
        ended = {(host, record["id"]) for host, record in self.all("ended")}
        began = {
            (host, r["id"]): None
            for host, r in self.all("began")
            if "id" in r and (r.get("direction"), r.get("attempt", 1)) != turn
        }
        return [unit for unit in began if unit not in ended]
