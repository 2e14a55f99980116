"""A deploy goes on, and ends with its own exit code, when nobody reads what it says."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import environ

PROGRAM = [sys.executable, "-m", "deploykit"]


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["lines", "json"])
def test_a_reader_that_goes_away_stops_no_deploy(site: Path, words: tuple[str, ...]) -> None:
    """`deploykit run production | head -0` publishes, and its exit code is the run's."""
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [*PROGRAM, "run", "production", *words],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        env=environ(),
    ) as process:
        os.close(writing)
        assert process.wait() == 0
    assert (site / "current" / "index.html").exists()


def test_a_lost_terminal_undoes_the_run(site: Path) -> None:
    """When the terminal is closed in the middle of a run, everything is undone all the same."""
    deploy = Path("deploy.py")
    marker = site.parent / "began"
    command = f"touch {marker}; sleep 60"
    deploy.write_text(
        deploy.read_text()
        .replace("import Publish,", "import Publish, Shell,")
        .replace("Publish()]", f"Publish(), Shell('wait', do={command!r})]")
    )
    ours, theirs = pty.openpty()
    # setsid makes the terminal the controlling one, so that closing it sends SIGHUP.
    with subprocess.Popen(
        ["setsid", "--ctty", *PROGRAM, "run", "production"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ(),
    ) as process:
        os.close(theirs)
        while not marker.exists():
            os.read(ours, 65536)
        os.close(ours)
        assert process.wait() == 130
    assert not (site / "current").exists()
