"""The files of the throw-away host, and the environment of what runs on it."""

from __future__ import annotations

import os
import secrets
import shlex
import site
import sys
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MARK", "DemoHost"]

MARK = "DEPLOYKIT_DEMO"
"""The variable that every process of a demo host carries: how its leftovers are found."""

# What runs on the host is this very Python with its packages, wherever they are installed, and
# whether or not pip has put their scripts on the PATH.
PROGRAMS = {
    "python3": "",
    "alembic": "-m alembic.config",
    "supervisorctl": "-m supervisor.supervisorctl -c {configuration}",
}


@dataclass(frozen=True)
class DemoHost:
    """
    A folder that plays a host.

    Args:
        directory: the folder; everything the host keeps is below it.
        user: the login name that the SSH server admits.
    """

    directory: Path
    user: str = "deploy"
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def home(self) -> Path:
        """The home directory of the login user."""
        return self.directory / "home"

    @property
    def bin(self) -> Path:
        """The programs that are installed on this host."""
        return self.directory / "bin"

    @property
    def root(self) -> Path:
        """Where the scheduler is deployed: the `root` of its pipeline."""
        return self.directory / "srv" / "scheduler"

    @property
    def supervisor_configuration(self) -> Path:
        """The configuration of the host's supervisord."""
        return self.directory / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        """The socket on which supervisorctl finds supervisord."""
        return self.directory / "supervisor.sock"

    def prepare(self) -> None:
        """Make the host's folders and programs."""
        for folder in (self.home, self.bin, self.root.parent):
            folder.mkdir(parents=True, exist_ok=True)
        for name, arguments in PROGRAMS.items():
            self._install(name, arguments)

    def environment(self) -> dict[str, str]:
        """Return what a login on this host finds in its environment, and nothing of ours."""
        search = (str(self.bin), str(Path(sys.executable).parent), os.defpath)
        return {
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "LOGNAME": self.user,
            "PATH": os.pathsep.join(search),
            # HOME is not ours, so Python would not find what `pip install --user` has installed.
            "PYTHONUSERBASE": site.getuserbase(),
            "SHELL": "/bin/sh",
            "USER": self.user,
            MARK: self.mark,
        }

    def _install(self, name: str, arguments: str) -> None:
        filled = arguments.format(configuration=shlex.quote(str(self.supervisor_configuration)))
        program = self.bin / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {filled} "$@"\n')
        program.chmod(0o755)
