"""
Run commands for the test bed, and fail with a line a person can act on.

Nothing here knows about hosts; it is the one place where the farm calls other programs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGES = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
    "tc": "iproute2",
}
"""The programs the farm calls, and the Debian package each comes from."""


class FarmError(Exception):
    """The test bed cannot do what was asked; the message says what to do about it."""


class CommandFailedError(FarmError):
    """A command exited with another status than 0."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(
            f"exit status {done.returncode}: {done.args}\n"
            f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        )
        self.done = done
        self.returncode = done.returncode
        self.stderr = done.stderr


class CommandTimedOutError(FarmError):
    """A command was still running when its time was up, and was killed."""


def call(
    *command: str,
    input: str | bytes = b"",  # noqa: A002 - the name subprocess.run gives it
    check: bool = True,
    within: float = 120,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """
    Run *command* to its end and hand back what it printed.

    Raises:
        CommandFailedError: it exited with another status than 0, and *check* is true.
        CommandTimedOutError: it did not end *within* that many seconds.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        pass_fds=pass_fds,
        # A group of its own, so that what nsenter started in a host can be killed with it.
        process_group=0,
    ) as process:
        try:
            sent = input.encode() if isinstance(input, str) else input
            out, err = process.communicate(sent, timeout=within)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandTimedOutError(f"not done within {within} s: {command}") from error
            raise
    done = subprocess.CompletedProcess(
        command, process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
    )
    if check and done.returncode != 0:
        raise CommandFailedError(done)
    return done


def missing_packages() -> list[str]:
    """Name the Debian packages whose programs are not on this machine."""
    return sorted({package for tool, package in PACKAGES.items() if shutil.which(tool) is None})
