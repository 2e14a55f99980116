"""Each event as one line of JSON, for programs: `--log-format json`."""

from __future__ import annotations

import json
from typing import TextIO

from deploykit.engine.events import Event
from deploykit.report.emit import emit

__all__ = ["JsonLines", "json_line"]


def json_line(event: Event) -> str:
    """Return *event* as one line; what JSON does not know is told as its text."""
    return json.dumps(dict(event), ensure_ascii=False, default=str) + "\n"


class JsonLines:
    """Writes JSON lines to *stream*."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Write one event, at once."""
        emit(self._stream, json_line(event))

    def close(self) -> None:
        """End; nothing is held back here."""
