"""What is going on right now: the moving part of the live console, without a terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from deploykit.engine.events import Event
from deploykit.report.clean import visible

__all__ = ["Board", "Upload"]

TAIL = 5  # lines of a running command that are shown
Unit = tuple[str, str]
OVER = {"stage_applied", "stage_failed", "stage_undone", "undo_failed"}
CLEARED = {
    *("run_started", "rollback_started"),
    *("run_confirmed", "run_sealed", "run_rolled_back", "run_stuck"),
}


@dataclass(frozen=True)
class Upload:
    """How far the upload to one host is: bytes, and bytes a second."""

    done: float
    total: float
    rate: float

    @property
    def left(self) -> float | None:
        """Return how many seconds are left; None where that cannot be told."""
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass
class Board:
    """
    What runs now.

    Args:
        now: a clock.
        running: since when each stage is at work on each host.
        uploads: those under way.
        tail: the last lines that commands printed.
    """

    now: Callable[[], float] = time.monotonic
    running: dict[Unit, float] = field(default_factory=dict)
    uploads: dict[Unit, Upload] = field(default_factory=dict)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))

    def take(self, event: Event) -> bool:
        """Note *event*; return whether it is over with that, so that nothing else shows it."""
        name = event["event"]
        unit = (str(event.get("stage", "")), str(event.get("host", "")))
        if name in ("command_output", "local_output"):
            self._running(unit)
            text = visible(str(event.get("text", "")))
            self.tail.append(f"{unit[1]}: {text}" if self._several else text)
            return True
        if name == "upload_progress":
            self._running(unit)
            self.uploads[unit] = Upload(
                float(event.get("done", 0)),
                float(event.get("total", 0)),
                float(event.get("rate") or 0),
            )
            return True
        if name == "stage_started":
            self._running(unit)
            return True
        if name in OVER:
            self._over(unit)
        elif name in CLEARED:
            self.running.clear()
            self.uploads.clear()
            self.tail.clear()
        return name in ("stage_planned", "command_ended", "connected")

    def seconds(self, unit: Unit) -> float:
        """Return how long *unit* has been at work."""
        return self.now() - self.running[unit]

    @property
    def _several(self) -> bool:
        return len({host for _, host in self.running}) > 1

    def _running(self, unit: Unit) -> None:
        self.running.setdefault(unit, self.now())

    def _over(self, unit: Unit) -> None:
        self.running.pop(unit, None)
        self.running.pop((unit[0], ""), None)
        self.uploads.pop(unit, None)
        if not self.running:
            self.tail.clear()
