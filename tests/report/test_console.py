"""The live console in a real pseudo-terminal, wide and narrow."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

SCRIPT = """
import sys
from deploykit.report.console import LiveConsole
console = LiveConsole(sys.stdout)
at = "2026-11-04T10:15:12Z"
unit = {"at": at, "stage": "transfer-with-a-long-name", "host": "web-1.shop.example"}
console({"event": "run_started", "at": at, "environment": "production", "run": "r", "hosts": ["a"]})
console({"event": "stage_started", **unit})
console({"event": "upload_progress", **unit, "done": 5e6, "total": 1e7, "rate": 1e6})
console._live.refresh()
for number in range(9):
    console({"event": "command_output", **unit, "text": f"line-{number} \\x1b[2J" + "x" * 300})
console._live.refresh()
console({"event": "stage_applied", **unit, "took": 1.84})
console({"event": "stage_failed", **unit, "error": "[bold]not markup[/bold] :smile:"})
console.close()
print("AFTER")
"""


def shown(columns: int, **changes: str) -> str:
    """Run SCRIPT at a terminal of so many *columns* and return everything that it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    path = os.pathsep.join(path for path in sys.path if path)
    env = {**os.environ, "TERM": "xterm", "PYTHONPATH": path, "PYTHONUTF8": "1", **changes}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        if name not in changes:
            env.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        pieces = []
        while piece := _read(ours):
            pieces.append(piece)
        assert process.wait() == 0, b"".join(pieces).decode()
    os.close(ours)
    return b"".join(pieces).decode()


def _read(number: int) -> bytes:
    try:
        return os.read(number, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""


def lines_of(text: str) -> list[str]:
    """Return what stands in the lines, without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", text).replace("\r", "\n").split("\n")


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    """At any width the moving part fits, so that it can be taken away again."""
    assert max(len(line) for line in lines_of(shown(columns))) <= columns


def test_what_is_done_stays_and_what_runs_goes() -> None:
    """Stages scroll by with their seconds, the last lines of output are shown while they matter."""
    text = shown(100)
    assert "5.0 MB/10.0 MB 1.0 MB/s 5.0 s left" in text
    assert "line-8" in text
    assert "line-3" not in text.partition("line-8")[2]
    assert "done in 1.8 s" in text
    assert text.rstrip().endswith("AFTER")
    assert "\x1b[?25h" in text


def test_text_from_elsewhere_is_only_text() -> None:
    """Neither rich's markup nor a host's escape codes have any effect."""
    text = shown(100)
    assert "[bold]not markup[/bold] :smile:" in text
    assert "\x1b[2J" not in text


def test_no_color() -> None:
    """NO_COLOR takes colours away and leaves the rest."""
    text = shown(100, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", text)
    assert "done in 1.8 s" in text


def test_a_terminal_without_unicode() -> None:
    """Where the encoding knows no check mark, letters stand in."""
    text = shown(100, PYTHONUTF8="0", PYTHONIOENCODING="ascii:backslashreplace")
    assert "\\u" not in text
    assert "done in 1.8 s" in text
