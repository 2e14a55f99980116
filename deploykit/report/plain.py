"""One line an event, with its time: for logs, pipes and CI systems without groups."""

from __future__ import annotations

import time
from typing import TextIO

from deploykit.engine.events import Event
from deploykit.report.emit import emit
from deploykit.report.units import clock
from deploykit.report.words import line_of

__all__ = ["Plain", "Throttle"]

PROGRESS_EVERY = 10.0  # seconds between two lines about one upload


class Throttle:
    """Lets an upload's progress through once in a while, and when it is complete."""

    def __init__(self, every: float = PROGRESS_EVERY) -> None:
        self._every = every
        self._last: dict[object, float] = {}

    def passes(self, event: Event) -> bool:
        """Return whether *event* is to be shown."""
        if event["event"] != "upload_progress":
            return True
        place = (event.get("stage"), event.get("host"))
        now = time.monotonic()
        began = self._last.setdefault(place, now)
        complete = event.get("done") == event.get("total")
        if not complete and now - began < self._every:
            return False
        self._last[place] = now
        return True


class Plain:
    """Writes lines without any escape code to *stream*."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._throttle = Throttle()

    def __call__(self, event: Event) -> None:
        """Write one event."""
        line = line_of(event) if self._throttle.passes(event) else None
        if line is not None:
            first, *more = line.placed.split("\n")
            self.write(f"{clock(str(event.get('at', '')))} {first}")
            for text in more:
                self.write(f"         {text}")

    def write(self, line: str) -> None:
        """Write one line, at once."""
        emit(self._stream, f"{line}\n")

    def close(self) -> None:
        """End; nothing is held back here."""
