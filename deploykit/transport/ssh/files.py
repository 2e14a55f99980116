"""Files of a host over SFTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import paramiko

from deploykit.errors import LinkLost, TransferFailed
from deploykit.transport.ssh import limits

__all__ = ["SSHFiles"]


class SSHFiles:
    """
    Files over SFTP.

    Args:
        channel: with nothing on it.
        label: the host's.

    Raises:
        TransferFailed: the host offers no SFTP.
        SSHException: the connection has ended; also EOFError, OSError.
    """

    def __init__(self, channel: paramiko.Channel, label: str) -> None:
        self._channel = channel
        self._label = label
        self._one = threading.Lock()  # paramiko's client gives answers to whoever reads first
        try:
            channel.invoke_subsystem("sftp")
            self._client = paramiko.SFTPClient(_AfterBanner(channel))  # type: ignore[arg-type]  # all that it uses
        except paramiko.SSHException as error:
            if channel.get_transport().is_active():
                raise TransferFailed(f"{label} offers no SFTP") from error
            raise

    @property
    def alive(self) -> bool:
        """Return whether they can be used still, as far as is known."""
        return not self._channel.closed

    def size(self, path: str) -> int | None:
        """See `Files`."""
        with self._named(path, "look at"):
            return self._size(path)

    def mkdir(self, path: str, mode: int) -> None:
        """See `Files`."""
        with self._named(path):
            try:
                self._client.mkdir(path, mode)
            except OSError:
                if self._size(path) is None:
                    raise
            self._client.chmod(path, mode)

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """See `Files`."""
        with self._named(path), self._client.open(path, "wb") as target:
            target.chmod(mode)  # before its content, which may be secret
            target.set_pipelined(True)
            try:
                while piece := source.read(limits.PIECE):
                    target.write(piece)
                    if sent:
                        sent(len(piece))
            finally:
                target.set_pipelined(False)

    def symlink(self, target: str, path: str) -> None:
        """See `Files`."""
        with self._named(path):
            if self._size(path) is not None:
                self._client.remove(path)
            self._client.symlink(target, path)

    def rename(self, old: str, new: str) -> None:
        """See `Files`."""
        with self._named(new):
            self._client.posix_rename(old, new)

    def _size(self, path: str) -> int | None:
        try:
            return self._client.lstat(path).st_size or 0
        except FileNotFoundError:
            return None

    @contextmanager
    def _named(self, path: str, act: str = "write") -> Iterator[None]:
        with self._one:
            try:
                yield
            except (paramiko.SSHException, EOFError, OSError) as error:
                if self._channel.closed or not isinstance(error, OSError):
                    raise LinkLost(
                        f"the connection to {self._label} was lost over SFTP ({act} {path})"
                    ) from error
                reason = error.strerror or str(error) or "refused (disk full, or no right to?)"
                raise TransferFailed(f"{self._label}: cannot {act} {path}: {reason}") from error


class _AfterBanner:
    """
    A channel whose first packet is the SFTP server's, whatever the login shell prints before it.

    sshd starts the server by the user's shell, and some `.bashrc` greet. The first packet is the
    server's version: its length, then type 2 and version 3.
    """

    FIRST = re.compile(rb"\x00\x00[\x00-\xff]{2}\x02\x00\x00\x00\x03")
    LONGEST = 1 << 20  # bytes of a greeting; no first packet comes after so many

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._left: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def recv(self, size: int) -> bytes:
        """Return up to *size* bytes, none of them from before the first packet."""
        if self._left is None:
            self._left = self._first()
        if self._left:
            piece, self._left = self._left[:size], self._left[size:]
            return piece
        return self._channel.recv(size)

    def _first(self) -> bytes:
        head = b""
        while not (found := self.FIRST.search(head)):
            piece = self._channel.recv(1 << 12)
            if not piece or len(head) > self.LONGEST:
                return head
            head += piece
        return head[found.start() :]
