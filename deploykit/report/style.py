"""Colours, only where a person looks at a terminal and has not refused them."""

from __future__ import annotations

import os
import shutil
from typing import TextIO

from deploykit.report.words import Tone

__all__ = ["Paint", "is_terminal", "terminal_width"]

CODES: dict[Tone, str] = {
    "plain": "",
    "good": "32",
    "bad": "1;31",
    "warning": "33",
    "faint": "2",
}
WIDE = 1000  # columns of what is no terminal: nothing is ever shortened there


class Paint:
    """
    Colours words for one stream.

    Honours https://no-color.org: a `NO_COLOR` that is not empty means none.
    """

    def __init__(self, stream: TextIO) -> None:
        self.on = is_terminal(stream) and not os.environ.get("NO_COLOR")

    def __call__(self, text: str, tone: Tone) -> str:
        """Return *text* in the colour of *tone*."""
        code = CODES[tone]
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and code and text else text


def is_terminal(stream: TextIO) -> bool:
    """Return whether *stream* is a terminal that understands escape codes."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # a closed stream
        return False


def terminal_width(stream: TextIO) -> int:
    """Return how many columns *stream* has."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else WIDE
