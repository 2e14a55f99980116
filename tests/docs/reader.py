"""A reader who does what a page says: writes its files, types its commands, reads the answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploykit.engine.lock import whoami
from tests.docs.blocks import Command, agree, blocks, commands
from tests.farm import Host

REWRITE: Final = bool(os.environ.get("DEPLOYKIT_DOCS_REWRITE"))
"""Put what was really printed into the page, instead of failing where it says something else."""

ADDRESS: Final = "203.0.113.10"  # kept free for documentation; the tests put a host's in its place
FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
SHIMS: Final = {
    "deploykit": '#!/bin/sh\nexec "{python}" -m deploykit "$@"\n',
    "ssh": '#!/bin/sh\nexec /usr/bin/ssh -F "{config}" "$@"\n',
    # Not every machine has curl, and readers know it best.
    "curl": "#!{python}\n"
    "import sys, urllib.request\n"
    "words = [word for word in sys.argv[1:] if word != '-s']\n"
    "data = words[words.index('-d') + 1].encode() if '-d' in words else None\n"
    "answer = urllib.request.urlopen(words[-1], data, timeout=10)\n"
    "sys.stdout.write(answer.read().decode())\n",
}


@dataclass
class Reader:
    """
    Somebody with a server and an empty folder.

    Args:
        host: the server.
        folder: where the page's files are put, and its commands are typed.
        bin: where the programs are that a page calls.
        code: the exit code of the command before.
    """

    host: Host
    folder: Path
    bin: Path
    code: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.bin.mkdir(parents=True, exist_ok=True)
        config = self.bin / "ssh_config"
        # Pages log in by address, which the test bed's own configuration does not name.
        text = self.host.ssh_config.read_text().replace("\n  User deploy", "")
        config.write_text(text)
        for name, script in SHIMS.items():
            path = self.bin / name
            path.write_text(script.format(python=sys.executable, config=config))
            path.chmod(0o755)

    def follow(self, page: Path) -> list[str]:
        """Do everything that *page* says; return what is not as it says."""
        wrong: list[str] = []
        lines = page.read_text(encoding="utf-8").split("\n")
        really: dict[int, tuple[Command, tuple[str, ...]]] = {}
        for block in blocks(page):
            if block.caption:
                self.write(block.caption, block.text)
            elif block.language == "console":
                typed = list(commands(block))
                for number, command in enumerate(typed):
                    after = typed[number + 1].text if number + 1 < len(typed) else ""
                    printed = self.type(command.text)
                    if self.code and after != "echo $?":
                        # What comes after rests upon it.
                        return [*wrong, _said(page, command, printed, f"exit code {self.code}")]
                    if not agree(command.output, printed):
                        wrong.append(_said(page, command, printed, "another output"))
                        really[command.line] = (command, printed)
        if REWRITE and really:
            for line, (command, printed) in sorted(really.items(), reverse=True):
                lines[line + 1 : line + 1 + len(command.output)] = printed
            page.write_text("\n".join(lines), encoding="utf-8")
        return wrong

    def type(self, command: str) -> tuple[str, ...]:
        """Type *command*, and return the lines that the page would show."""
        if command == "echo $?":
            code, self.code = self.code, 0
            return (str(code),)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", self._mine(command)],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if "--json" in command else subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        self.code = done.returncode
        return tuple(self._theirs(done.stdout).rstrip("\n").split("\n")) if done.stdout else ()

    def write(self, name: str, text: str) -> None:
        """Make *name* a file of the reader's project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._mine(text), encoding="utf-8")

    def environment(self) -> Mapping[str, str]:
        """Return the variables of the reader's shell."""
        root = str(Path(__file__).parents[2])
        return {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": root,
            "COLUMNS": "100",
        }

    def _mine(self, text: str) -> str:
        """Return *text* of a page for this server."""
        return FINGERPRINT.sub(self._fingerprint, text.replace(ADDRESS, self.host.ip))

    def _theirs(self, text: str) -> str:
        """Return what was printed as a page shows it."""
        text = text.replace(self.host.ip, ADDRESS).replace(str(self.folder), "/home/you/notes")
        text = text.replace(str(Path.home()), "/home/you").replace(
            "/you/.state", "/you/.local/state"
        )
        return text.replace(whoami(), "you@laptop").replace(self.host.name, "notes")

    @property
    def _fingerprint(self) -> str:
        shown = self.host.root("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").stdout
        return shown.split()[1]


def log_in(home: Path, host: Host) -> None:
    """Give the reader whose HOME is *home* the key that logs in on *host*."""
    (home / ".ssh").mkdir(mode=0o700)
    for name in ("id", "id.pub"):
        key = home / ".ssh" / name.replace("id", "id_ed25519")
        shutil.copy(host.keyring / name, key)
        key.chmod(0o600)


def _said(page: Path, command: Command, printed: tuple[str, ...], what: str) -> str:
    title = f"{page.name}:{command.line + 1}: {what}: {command.text}"
    return "\n".join([title, *printed, "--- the page says", *command.output])
