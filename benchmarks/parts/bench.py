"""What several benchmarks need: relays, precedence over other work, tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Relay", "go_first", "table"]


class Relay:
    """
    Ports of this machine by which a host's SSH server is farther away.

    Args:
        address: the host's.
        links: what `relay.py` takes for a link, each.
    """

    def __init__(self, address: str, links: Sequence[str]) -> None:
        words = [str(Path(__file__).with_name("relay.py")), f"{address}:22", *links]
        self._process = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.ports = [int(port) for port in self._process.stdout.readline().split()]

    def close(self) -> None:
        """End them."""
        self._process.terminate()
        self._process.wait()


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* below *title* and *head*, numbers to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = [title]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, ""])


def go_first() -> None:
    """Have this process and all that it starts go before what else the machine does, if it may."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
