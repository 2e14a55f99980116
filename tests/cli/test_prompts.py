"""Questions to a person: asked at a terminal, never where nobody sits."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import environ

PROGRAM = [sys.executable, "-m", "deploykit"]


def typing(answer: str, *words: str) -> tuple[int, str]:
    """Run the program at a terminal, type *answer* once it asks, and return code and screen."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environ()
    ) as process:
        os.close(theirs)
        screen, asked = b"", False
        while piece := _read(ours):
            screen += piece
            if not asked and b": " in screen.splitlines()[-1] and b"type yes" in screen:
                os.write(ours, f"{answer}\n".encode())
                asked = True
        code = process.wait()
    os.close(ours)
    return code, screen.decode()


def _read(number: int) -> bytes:
    try:
        return os.read(number, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""


@pytest.fixture
def address(site: Path) -> str:
    """Return the address of a host that no `deploy.py` pins."""
    del site
    file = Path("deploy.py")
    port = file.read_text().partition("port=")[2].partition(",")[0]
    file.unlink()
    return f"127.0.0.1:{port}"


def test_trust_stores_what_a_person_confirms(address: str, home: Path) -> None:
    """Only a typed yes stores a key."""
    code, screen = typing("no", "trust", address)
    assert code == 1
    assert "nothing was stored" in screen
    assert not (home / ".ssh").exists()
    code, screen = typing("yes", "trust", address)
    assert code == 0
    assert "stored in" in screen
    assert (home / ".ssh" / "known_hosts").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("closed", [False, True], ids=["null", "closed"])
@pytest.mark.parametrize("verb", ["trust", "init"])
def test_nothing_blocks_without_a_terminal(address: str, verb: str, closed: bool) -> None:
    """With standard input empty or closed, no verb waits for an answer."""
    command = [*PROGRAM, *([verb, address] if verb == "trust" else [verb])]
    if closed:
        command = ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environ(),
    )
    assert done.returncode == (2 if verb == "trust" else 0)
    assert "Traceback" not in done.stderr
    assert ("--yes" if verb == "trust" else "--host") in done.stderr + done.stdout
    assert Path("deploy.py").exists() is (verb == "init")
