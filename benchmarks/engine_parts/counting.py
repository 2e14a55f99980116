"""Counts and times what goes between a controller and its host."""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from deploykit.files import Files
from deploykit.transport.base import Completed, Held, Transport

__all__ = ["Call", "Calls", "CountingTransport", "in_a_row", "phases"]

Sort = Literal["ask", "hold", "file"]
AFTER = {
    "connected": "lock",
    "run_started": "write ahead",
    "run_confirmed": "finish",
    "run_ended": "unlock",
}
"""Which phase begins with an event; stages name their own."""

RUNNER = re.compile(r"/runner-[0-9a-f]+\.sh$")
SCRIPTS = {b"\ndk_start\n": "guardian", b"/.deploykit/manifests || exit": "prepare"}
"""What is sent as queries are, and changes something, by what only it holds."""


@dataclass(frozen=True)
class Call:
    """
    One thing asked of the host.

    Args:
        name: the runner's verb, `prepare`, `guardian`, or `query` for what only looks.
        sort: an exchange that is waited for, what is held open, or one over SFTP.
        began: on the monotonic clock.
        ended: likewise.
    """

    name: str
    sort: Sort
    began: float
    ended: float


class Calls:
    """All calls of a controller, and the events between them."""

    def __init__(self) -> None:
        self.made: list[Call] = []
        self.marks: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def heard(self, event: Any) -> None:
        """Take an event: some of them begin a phase."""
        name = event["event"]
        if name == "stage_started":
            phase = event["stage"]
        elif name == "stage_applied":
            phase = "between stages"
        else:
            phase = AFTER.get(name, "")
        if phase:
            self.marks.append((time.monotonic(), phase))

    @contextmanager
    def timed(self, name: str, sort: Sort) -> Iterator[None]:
        """Note the call that is made meanwhile."""
        began = time.monotonic()
        try:
            yield
        finally:
            call = Call(name, sort, began, time.monotonic())
            with self._lock:
                self.made.append(call)
                if name == "lock":
                    self.marks.append((call.ended, "look and plan"))


class CountingTransport:
    """A connection of which every call is noted."""

    def __init__(self, inner: Transport, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    def execute(
        self,
        command: str,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `Transport`."""
        with self._calls.timed(called(command, stdin), "ask"):
            return self._inner.execute(command, stdin, timeout=timeout, on_output=on_output)

    def feed(self, command: str, pieces: Iterable[bytes]) -> Completed:
        """See `Transport`."""
        with self._calls.timed("feed", "file"):
            return self._inner.feed(command, pieces)

    def hold(self, command: str) -> Held:
        """See `Transport`."""
        with self._calls.timed("hold", "hold"):
            return self._inner.hold(command)

    def files(self, *, apart: bool = False) -> Files:
        """See `Transport`."""
        with self._calls.timed("open SFTP", "file"):
            inner: Any = self._inner.files(apart=apart)
        return CountingFiles(inner, self._calls)

    def close(self) -> None:
        """See `Transport`."""
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class CountingFiles:
    """Files of which every call is noted."""

    def __init__(self, inner: Any, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def noted(*arguments: Any, **keywords: Any) -> Any:
            with self._calls.timed(name, "file"):
                return found(*arguments, **keywords)

        return noted


def called(command: str, stdin: bytes) -> str:
    """Return the name of a call."""
    words = shlex.split(command)
    runners = [at for at, word in enumerate(words) if RUNNER.search(word)]
    if runners and len(words) > runners[-1] + 2:
        return words[runners[-1] + 2]
    return next((name for sign, name in SCRIPTS.items() if sign in stdin), "query")


def in_a_row(calls: Iterable[Call]) -> int:
    """Return how many of *calls* had to follow one another: the longest chain of them."""
    count, end = 0, 0.0
    for call in sorted(calls, key=lambda call: call.ended):
        if call.began >= end:
            count, end = count + 1, call.ended
    return count


def phases(calls: Calls, ended: float) -> dict[str, dict[str, float]]:
    """
    Return what each phase of a run took.

    Args:
        calls: of the run.
        ended: when it was over.

    Returns:
        By phase, in order: `seconds`, those of them over SFTP as `files`, the number of calls as
        `asked`, and how many of these had to follow one another as `row`.
    """
    marks = sorted(calls.marks)
    last = [at for at, phase in marks if phase == "between stages"]
    found: dict[str, dict[str, float]] = {}
    for (began, phase), (end, _) in zip(marks, [*marks[1:], (ended, "")], strict=True):
        own = [call for call in calls.made if began <= call.began < end]
        asked = [call for call in own if call.sort == "ask"]
        name = phase
        if phase == "between stages":
            name = "end table" if began == last[-1] else "guardian"
        into = found.setdefault(name, {"seconds": 0, "files": 0, "asked": 0, "row": 0})
        into["seconds"] += end - began
        into["files"] += sum(call.ended - call.began for call in own if call.sort == "file")
        into["asked"] += len(asked)
        into["row"] += in_a_row(asked)
    return found
