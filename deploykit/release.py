"""A release as values: what it contains, what it is called, and which state it is in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

__all__ = ["Entry", "Ledger", "LedgerLine", "Manifest", "ReleaseState"]

ReleaseState = Literal["building", "good", "bad"]

_LINE = json.JSONEncoder(ensure_ascii=False)  # made once: each takes as long as a line does


@dataclass(frozen=True)
class Entry:
    """
    One path of a release.

    Args:
        path: relative, with `/` between its parts.
        kind: `file`, `dir` or `link`.
        mode: permission bits.
        size: bytes of a file, else 0.
        sha256: hex digest of a file's content, else empty.
        target: where a link points, else empty.
    """

    path: str
    kind: Literal["file", "dir", "link"]
    mode: int = 0o644
    size: int = 0
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True)
class Manifest:
    """Everything a release contains, sorted by path."""

    entries: tuple[Entry, ...]

    @cached_property
    def content(self) -> str:
        """Return the sha256 that names this content, the same on every environment."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def files(self) -> tuple[Entry, ...]:
        """Return the entries that are regular files."""
        return tuple(entry for entry in self.entries if entry.kind == "file")

    def to_json(self) -> str:
        """Return one canonical line of JSON an entry."""
        return self._json

    @cached_property
    def _json(self) -> str:
        # Kept: an upload asks for it several times, and it takes as long as a round trip.
        return "".join(
            _LINE.encode([e.path, e.kind, e.mode, e.size, e.sha256, e.target]) + "\n"
            for e in sorted(self.entries, key=lambda entry: entry.path)
        )

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote."""
        return cls(tuple(Entry(*json.loads(line)) for line in text.split("\n") if line))

    @classmethod
    def claimed(cls, text: str) -> Manifest:
        """Read what lies on a host as a manifest; of what is none, nothing."""
        try:
            entries: tuple[Any, ...] = cls.from_json(text).entries
        except (json.JSONDecodeError, TypeError):
            return cls(())
        return cls(tuple(entry for entry in entries if isinstance(entry.path, str)))


@dataclass(frozen=True)
class LedgerLine:
    """
    One line of `releases.jsonl`: a release entered a state.

    Args:
        id: the release.
        content: the manifest's sha256.
        state: the state it entered.
        run: the run that did it.
        by: who ran it, as `user@machine`.
        commit: the source's commit, where known.
        at: UTC time by the host's clock.
        rejected: a check, a guardian or a person said no to this content.
    """

    id: str
    content: str
    state: ReleaseState
    run: str
    by: str = ""
    commit: str = ""
    at: str = ""
    rejected: bool = False


@dataclass(frozen=True)
class Ledger:
    """
    The releases of a host.

    Args:
        lines: one a release, in the order in which they were begun, each with its last state.
        refused: the release, by content, by which that content was last rejected and not accepted
            since.
    """

    lines: tuple[LedgerLine, ...]
    refused: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, records: Iterable[dict[str, object]]) -> Ledger:
        """Fold journal *records*, oldest first, into one line a release."""
        latest: dict[str, dict[str, object]] = {}
        refused: dict[str, str] = {}
        names = LedgerLine.__dataclass_fields__
        for record in records:
            if "id" in record and "state" in record:
                known = {key: value for key, value in record.items() if key in names}
                first = latest.setdefault(str(record["id"]), known)
                first.update({**known, "at": first.get("at", "")})
                if record["state"] == "good":
                    refused.pop(str(record.get("content")), None)
                elif record.get("rejected"):
                    refused[str(record.get("content"))] = str(record["id"])
        lines = tuple(LedgerLine(**line) for line in latest.values())  # type: ignore[arg-type]  # read from JSON that only deploykit writes
        return cls(lines, tuple(refused.items()))

    def find(self, release: str) -> LedgerLine | None:
        """Return the line of *release*, if there is one."""
        return next((line for line in self.lines if line.id == release), None)

    def rejected(self, content: str) -> LedgerLine | None:
        """Return the release by which *content* was rejected, if it was not accepted since."""
        return self.find(dict(self.refused).get(content, ""))

    def good(self) -> tuple[LedgerLine, ...]:
        """Return the good releases, oldest first."""
        return tuple(line for line in self.lines if line.state == "good")
