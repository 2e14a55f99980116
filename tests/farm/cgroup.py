"""
The control groups of a farm: how to find, freeze and kill all that runs in a host.

Both layouts are served: the one hierarchy of cgroup v2, and the many of v1.
The v1 `memory` hierarchy is left alone, because nothing here needs it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from functools import partial
from pathlib import Path
from typing import Final

from tests.farm.waiting import eventually

TOP: Final = Path("/sys/fs/cgroup")
V1: Final = ("systemd", "unified", "cpu", "cpuacct", "pids", "freezer", "blkio")


def hierarchies() -> list[Path]:
    """Return the roots of the hierarchies that a host is put into."""
    if (TOP / "cgroup.controllers").exists():
        return [TOP]
    return [TOP / name for name in V1 if (TOP / name).is_dir()]


class Group:
    """The control group *name* ("farm" or "farm/host") in each hierarchy."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.paths = [root / name for root in hierarchies()]

    def join_script(self) -> str:
        """Return shell lines that put the shell itself into the group."""
        return "".join(f"mkdir -p {path}\necho $$ > {path}/cgroup.procs\n" for path in self.paths)

    def processes(self) -> set[int]:
        """Return the ids of all processes in the group and below."""
        found: set[int] = set()
        for path in self.paths:
            # Groups come and go meanwhile, with each login; os.walk and we take no notice.
            for directory, _, _ in os.walk(path):
                with contextlib.suppress(OSError):
                    found.update(map(int, Path(directory, "cgroup.procs").read_text().split()))
        return found

    def freeze(self, *, frozen: bool) -> None:
        """Stop every process of the group where it is, or let them go on."""
        if hierarchies() == [TOP]:
            switch, words = self.paths[0] / "cgroup.freeze", ("0", "1")
        else:
            switch, words = TOP / "freezer" / self.name / "freezer.state", ("THAWED", "FROZEN")
        if switch.exists():
            switch.write_text(words[frozen])

    def kill(self) -> None:
        """Kill every process of the group and wait until they are gone."""
        self.freeze(frozen=False)
        eventually(self._killed, within=30, every=0.01, message=f"no process in {self.paths[0]}")

    def _killed(self) -> bool:
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    def remove(self) -> None:
        """Remove the group, which has to be empty, from every hierarchy."""
        for path in self.paths:
            for directory, _, _ in os.walk(path, topdown=False):
                eventually(partial(_removed, Path(directory)), within=5, message=directory)

    def left(self) -> list[Path]:
        """Return the directories of the group that still exist."""
        return [path for path in self.paths if path.exists()]


def _removed(directory: Path) -> bool:
    """Tell whether *directory* is gone; the kernel says "busy" while its last process exits."""
    with contextlib.suppress(OSError):
        directory.rmdir()
    return not directory.exists()
