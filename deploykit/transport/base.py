"""What the engine asks of a connection, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from deploykit.files import Files

__all__ = ["Completed", "Held", "Transport"]


@dataclass(frozen=True)
class Completed:
    """
    An ended command.

    Args:
        exit_code: of the command, or of what has spoken in its place.
        stdout: what it printed.
        stderr: what it said.
        begun: our `sh` has read its line; if not, the host gives no shell, and nothing was done.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    begun: bool = True


class Held(Protocol):
    """A command that runs for as long as we are there."""

    def beat(self) -> None:
        """
        Send it a line.

        Raises:
            LinkLost: it has ended, or the connection has.
        """

    def close(self) -> None:
        """End its input, and so the command."""


class Transport(Protocol):
    """One open way to a host."""

    def execute(
        self,
        command: str,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """
        Run *command* by our own `sh`, with *stdin*, to its end.

        Args:
            command: one line of POSIX shell.
            stdin: all that it can read.
            timeout: seconds; None waits for as long as the connection lives.
            on_output: is given standard output as it comes, and then `Completed.stdout` is empty.

        Returns:
            Its exit code and streams, without what a login shell printed before it.

        Raises:
            LinkLost: the connection ended first.
            TimeoutError: *timeout* passed; what runs on the host may still run.
        """

    def feed(self, command: str, pieces: Iterable[bytes]) -> Completed:
        """
        Run *command*, as in `execute`, with an input that is made while it is sent.

        Raises:
            LinkLost: the connection ended first.
            Exception: whatever *pieces* raises; the command reads the end of its input then.
        """

    def hold(self, command: str) -> Held:
        """
        Start *command*, as in `execute`, with its input left open.

        Raises:
            LinkLost: the connection is gone.
        """

    def files(self, *, apart: bool = False) -> Files:
        """
        Return the host's files.

        Args:
            apart: on a channel of their own, which no upload on the common one holds up.
        """

    def close(self) -> None:
        """End the connection."""
