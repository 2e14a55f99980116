"""A file for each run on the operator's machine, with every event as a line of JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from deploykit.engine.copies import file_name
from deploykit.engine.events import Event
from deploykit.report.emit import emit
from deploykit.report.jsonlines import json_line

__all__ = ["RunFile", "folder_of"]

KEEP = 200  # files an environment; each is small, but runs are many


def folder_of(environment: str) -> Path:
    """Return the folder of *environment*'s run files, in the user's state directory."""
    from platformdirs import user_state_path  # only a run needs it

    return user_state_path("deploykit", appauthor=False) / "runs" / file_name(environment)


class RunFile:
    """
    Writes the events of a run; those told before it has an id are kept until it has.

    A file that cannot be written is no reason to stop a deploy: *warn* is told, once.
    """

    def __init__(self, environment: str, warn: Callable[[str], None]) -> None:
        self._environment = environment
        self._warn = warn
        self._early: list[str] = []
        self._path: Path | None = None
        self._file: TextIO | None = None
        self._broken = False

    def __call__(self, event: Event) -> None:
        """Write one event."""
        if self._broken:
            return
        line = json_line(event)
        if self._file is None and not event.get("run"):
            self._early.append(line)
            return
        try:
            if self._file is None:
                self._path = folder_of(self._environment) / f"{file_name(str(event['run']))}.jsonl"
                self._file = _opened(self._path)
                self._file.writelines(self._early)
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            self._broken = True
            self._warn(f"this run leaves no file: {error}")

    @property
    def path(self) -> str:
        """Return where the file is; empty if there is none."""
        return "" if self._file is None or self._broken else str(self._path)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _opened(path: Path) -> TextIO:
    """Open *path* for its owner alone, and let the oldest files beside it go."""
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.jsonl"), key=_age)[: -KEEP + 1]:
        old.unlink(missing_ok=True)
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(number, "a", encoding="utf-8")


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has let it go
        return 0.0


def to_stderr(text: str) -> None:
    """Say *text* as a warning on standard error."""
    emit(sys.stderr, f"warning: {text}\n")
