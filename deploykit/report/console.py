"""The live view at a terminal: what is done scrolls by, what runs moves below it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploykit.engine.events import Event
from deploykit.report.board import Board, Upload
from deploykit.report.emit import silence
from deploykit.report.units import duration, size
from deploykit.report.words import Line, Tone, line_of

__all__ = ["LiveConsole"]

STYLES: dict[Tone, str] = {
    "plain": "",
    "good": "green",
    "bad": "bold red",
    "warning": "yellow",
    "faint": "dim",
}
PER_SECOND = 8
SHORTEST, WIDEST_BAR = 8, 30  # columns


@dataclass(frozen=True)
class Signs:
    """What stands for what, in an encoding."""

    marks: dict[Tone, str]
    wheel: str
    cut: str
    full: str
    empty: str


UNICODE = Signs(
    marks={"plain": " ", "good": "✓", "bad": "✗", "warning": "!", "faint": "·"},
    wheel="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
    cut="…",
    full="━",
    empty="─",
)
ASCII = Signs(
    marks={"plain": " ", "good": "+", "bad": "x", "warning": "!", "faint": "."},
    wheel="|/-\\",
    cut="~",
    full="#",
    empty=".",
)


class LiveConsole:
    """
    Shows events on *stream*, a terminal.

    Nothing is left of the moving part when it is closed: what is to stay has been printed above.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console = Console(file=stream, highlight=False, emoji=False, markup=False)
        utf8 = "utf" in (self._console.encoding or "").lower()
        self._signs = UNICODE if utf8 else ASCII
        self._board = Board()
        self._lock = threading.RLock()
        self._live = Live(
            console=self._console,
            get_renderable=self._moving,
            refresh_per_second=PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __call__(self, event: Event) -> None:
        """Show one event."""
        with self._lock:
            shown = self._board.take(event)
        try:
            if not self._live.is_started:
                self._live.start()
            line = None if shown else line_of(event)
            if line is not None:
                self._console.print(self._still(line))
        except OSError:  # the terminal is gone; the run goes on, or back
            silence(self._stream)

    def close(self) -> None:
        """Take the moving part away."""
        try:
            if self._live.is_started:
                self._live.stop()
        except OSError:  # as above
            silence(self._stream)

    def _still(self, line: Line) -> RenderableType:
        row = Table.grid(padding=(0, 1))
        row.add_column(width=1)
        texts = [Text(self._signs.marks[line.tone])]
        if line.stage or line.host:
            row.add_column(no_wrap=True, min_width=12)
            row.add_column(no_wrap=True, min_width=8)
            texts += [Text(line.stage), Text(line.host, style="dim")]
        row.add_column(overflow="fold")
        texts.append(Text(line.text))
        for text in (texts[0], texts[-1]):
            text.stylize(STYLES[line.tone])
        row.add_row(*texts)
        return row

    def _moving(self) -> RenderableType:
        """Return the lines below; called by rich's own thread too."""
        with self._lock:
            rows = [self._unit(unit) for unit in self._board.running]
            tail = [
                Text(f"  | {line}", style="dim", no_wrap=True, overflow="crop")
                for line in self._board.tail
            ]
        return Group(*rows, *tail)

    def _unit(self, unit: tuple[str, str]) -> RenderableType:
        """Return a line that fits: first the bar gives way, then the names, never the numbers."""
        seconds = self._board.seconds(unit)
        wheel = self._signs.wheel[int(seconds * PER_SECOND) % len(self._signs.wheel)]
        upload = self._board.uploads.get(unit)
        numbers = "  ".join([duration(seconds), *([_numbers(upload)] if upload else [])])
        place = " ".join(word for word in unit if word)
        room = max(self._console.width - len(f"{wheel}   {numbers}"), SHORTEST)
        bar = min(WIDEST_BAR, room - len(place) - 1) if upload else 0
        line = Text(f"{wheel} ", no_wrap=True, overflow="crop")
        line.append(place if len(place) <= room else place[: room - 1] + self._signs.cut)
        if upload and bar >= SHORTEST:
            full = round(bar * upload.done / max(upload.total, 1))
            line.append(" " + self._signs.full * full, style="green")
            line.append(self._signs.empty * (bar - full), style="dim")
        return line.append(f" {numbers}", style="dim")


def _numbers(upload: Upload) -> str:
    text = f"{size(upload.done)}/{size(upload.total)}"
    if upload.rate:
        text += f" {size(upload.rate)}/s"
    if upload.left:
        text += f" {duration(upload.left)} left"
    return text
