"""What the engine asks of a connection, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

__all__ = ["Completed", "File", "Files", "Held", "Transport"]


@dataclass(frozen=True)
class Completed:
    """An ended command: its exit code and both streams."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class File:
    """
    A file to be written.

    Args:
        path: where to; not under a final name.
        mode: permission bits, set whatever the umask.
        pieces: gives its contents in pieces of at most so many bytes, read when they are asked for;
            what it raises ends the writing.
    """

    path: str
    mode: int
    pieces: Callable[[int], Iterator[bytes]]


class Files(Protocol):
    """The part of SFTP that is needed."""

    def size(self, path: str) -> int | None:
        """Return the size in bytes of *path*, or None if nothing is there."""

    def mkdir(self, path: str, mode: int) -> None:
        """Make a folder; one that is there is left, with its mode set."""

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """
        Write *source* to *path*, replacing it, and set its mode.

        Args:
            source: read to its end.
            path: where to; not under a final name.
            mode: permission bits, set whatever the umask.
            sent: told the number of bytes of each piece.
        """

    def write_all(self, files: Iterable[File], sent: Callable[[int], None]) -> None:
        """
        Write *files*, many at once, each replacing what is there.

        Args:
            files: asked for as there is room for more.
            sent: told the number of bytes of each piece; may raise to stop.
        """

    def mkdirs(self, folders: Iterable[tuple[str, int]]) -> None:
        """Make folders with their modes, a folder before what is in it; those there are left."""

    def symlinks(self, links: Iterable[tuple[str, str]]) -> None:
        """Make links, each a target and a path, replacing links that are there."""

    def rename(self, old: str, new: str) -> None:
        """Rename, replacing *new*."""


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

    def files(self) -> Files:
        """Return the host's files."""

    def close(self) -> None:
        """End the connection."""
