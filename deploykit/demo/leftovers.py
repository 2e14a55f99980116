"""Find what a demo host has left running, and end it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from deploykit.demo.host import MARK

__all__ = ["end_processes", "find_processes"]

PATIENCE = 2.0
EVERY = 0.02


def find_processes(mark: str) -> list[int]:
    """
    List the processes that carry *mark* in their environment.

    A process that detached itself from its session, as daemons do, is found too. Where there
    is no /proc the list is empty.
    """
    wanted = f"{MARK}={mark}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        # Gone since it was listed, or somebody else's.
        with suppress(OSError):
            if wanted in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found


def end_processes(mark: str) -> None:
    """End the processes that carry *mark*: politely, then by force."""
    deadline = time.monotonic() + PATIENCE
    asked: set[int] = set()
    while running := find_processes(mark):
        late = time.monotonic() > deadline
        for pid in running:
            if late or pid not in asked:
                asked.add(pid)
                _send(pid, "SIGKILL" if late else "SIGTERM")
        time.sleep(EVERY)


def _send(pid: int, name: str) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.Signals[name])
