"""Looking at this machine's processes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["parent", "running"]


def running(words: str) -> list[int]:
    """Return the ids of the processes in whose command line *words* stand."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            if words.encode() in line:  # a dead one that nobody has waited for has no command line
                found.append(int(folder.name))
    return found


def parent(process: int) -> int:
    """Return the id of the process that has started *process*."""
    status = Path(f"/proc/{process}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])
