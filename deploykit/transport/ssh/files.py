"""Files of a host over SFTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from typing import Any, BinaryIO

import paramiko

from deploykit.errors import LinkLost, TransferFailed
from deploykit.files import File
from deploykit.transport.sftp import requests
from deploykit.transport.sftp.conversation import Ahead, Conversation, Refused, Task
from deploykit.transport.sftp.packets import Attributes, Code, Flag, ProtocolError, Request

__all__ = ["SSHFiles"]

LOST = (paramiko.SSHException, EOFError, OSError)
# OpenSSH names what it means by FAILURE nowhere: a full disk, a quota, a folder that is no folder.
REASONS = {Code.FAILURE: "refused (disk full, or no right to?)"}


class SSHFiles:
    """
    Files over SFTP.

    Args:
        channel: with nothing on it.
        label: the host's.

    Raises:
        TransferFailed: the host offers no SFTP, or none that keeps to its protocol.
        SSHException: the connection has ended; also EOFError, OSError.
    """

    def __init__(self, channel: paramiko.Channel, label: str) -> None:
        self._channel = channel
        self._label = label
        self._one = threading.Lock()
        try:
            channel.invoke_subsystem("sftp")
            self._sftp = Conversation(_AfterBanner(channel))
        except ProtocolError as error:
            raise TransferFailed(f"{label} offers no SFTP: {error}") from error
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
        with self._speaking(path, "look at"):
            return self._sftp.do(_size(path))

    def mkdir(self, path: str, mode: int) -> None:
        """See `Files`."""
        with self._speaking(path):
            self._sftp.do(_mkdir(path, mode))

    def mkdirs(self, folders: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        with self._speaking("folders", "make"):
            # A server may carry out requests in any order: first all of one depth, then the next.
            for _, level in groupby(sorted(folders, key=_depth), key=_depth):
                for _ in self._sftp.all(_mkdir(path, mode) for path, mode in level):
                    pass

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """See `Files`."""

        def pieces(size: int) -> Iterator[bytes]:
            return iter(partial(source.read, size), b"")

        self.write_all([File(path, mode, pieces)], sent or (lambda _size: None))

    def write_all(self, files: Iterable[File], sent: Callable[[int], None]) -> None:
        """See `Files`."""
        with self._speaking("files"):
            for _ in self._sftp.all(_write(file, self._sftp.piece, sent) for file in files):
                pass

    def symlinks(self, links: Iterable[tuple[str, str]]) -> None:
        """See `Files`."""
        with self._speaking("links", "make"):
            for _ in self._sftp.all(_symlink(target, path) for target, path in links):
                pass

    def rename(self, old: str, new: str) -> None:
        """See `Files`."""
        with self._speaking(new):
            self._sftp.do(_ask(requests.posix_rename(old, new)))

    @contextmanager
    def _speaking(self, about: str, act: str = "write") -> Iterator[None]:
        """Be the only one who speaks, and turn what goes wrong into our errors."""
        with self._one:
            try:
                yield
            except Refused as error:
                status, request = error.status, error.request
                reason = REASONS.get(status.code, status.message)  # type: ignore[call-overload]
                self._end()
                raise TransferFailed(
                    f"{self._label}: cannot {request.act} {request.about}: {reason}"
                ) from error
            except ProtocolError as error:
                self._end()
                raise TransferFailed(
                    f"{self._label}: its SFTP server does not keep to the protocol: {error}"
                ) from error
            except LOST as error:
                self._end()
                raise LinkLost(
                    f"the connection to {self._label} was lost over SFTP ({act} {about})"
                ) from error
            except BaseException:
                self._end()  # files are open there that nobody goes on with
                raise

    def _end(self) -> None:
        with suppress(*LOST):
            self._channel.close()


def _depth(folder: tuple[str, int]) -> int:
    return folder[0].count("/")


def _ask(request: Request) -> Task[Any]:
    return (yield request)


def _size(path: str) -> Task[int | None]:
    try:
        found: Attributes = yield requests.lstat(path)
    except Refused as error:
        if error.status.code == Code.NO_SUCH_FILE:
            return None
        raise
    return found.size or 0


def _mkdir(path: str, mode: int) -> Task[None]:
    try:
        yield requests.mkdir(path, mode)
    except Refused:
        if (yield from _size(path)) is None:
            raise
    yield requests.setstat(path, Attributes(mode=mode))


def _symlink(target: str, path: str) -> Task[None]:
    if (yield from _size(path)) is not None:
        yield requests.remove(path)
    yield requests.symlink(target, path)


def _write(file: File, size: int, sent: Callable[[int], None]) -> Task[None]:
    path = file.path
    flags = Flag.WRITE | Flag.CREATE | Flag.TRUNCATE
    handle = (yield requests.open_file(path, flags, file.mode)).value
    # Before its content, which may be secret; requests about one handle are done in their order.
    yield Ahead(requests.fsetstat(handle, Attributes(mode=file.mode), path))
    at = 0
    for piece in file.pieces(size):
        yield Ahead(requests.write(handle, at, piece, path))
        at += len(piece)
        sent(len(piece))
    yield Ahead(requests.close(handle, path))


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

    def sendall(self, data: bytes) -> None:
        """Send all of *data*."""
        self._channel.sendall(data)

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
