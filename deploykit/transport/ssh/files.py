"""Files of a host over SFTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from typing import Any, BinaryIO

import paramiko

from deploykit.errors import LinkLost, TransferFailed
from deploykit.files import Copy, File, Stat
from deploykit.transport.sftp import changing, looking, requests, writing
from deploykit.transport.sftp.conversation import Conversation
from deploykit.transport.sftp.packets import Code, ProtocolError
from deploykit.transport.sftp.removing import remove_all
from deploykit.transport.sftp.tasks import Refused, Task
from deploykit.transport.ssh.greeting import AfterBanner

__all__ = ["SSHFiles"]

LOST = (paramiko.SSHException, EOFError, OSError)
SHOWN = 300  # characters of what a server says is the reason
# OpenSSH names what it means by FAILURE nowhere: a full disk, a quota, a folder that is no folder.
REASONS: dict[int, str] = {
    Code.FAILURE: "refused (disk full, or no right to?)",
    Code.OP_UNSUPPORTED: "the server cannot do that",
}


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
            self._sftp = Conversation(AfterBanner(channel))
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

    @property
    def copies(self) -> bool:
        """See `Files`."""
        return self._sftp.offers(requests.COPY_DATA)

    @property
    def replaces(self) -> bool:
        """See `Files`."""
        return self._sftp.offers(requests.POSIX_RENAME)

    @property
    def _sure(self) -> bool:
        """Whether the server is known to tell a link from what it leads to."""
        return self._sftp.offers(requests.LSETSTAT)

    @property
    def _flushes(self) -> bool:
        return self._sftp.offers(requests.FSYNC)

    def look(self, paths: Iterable[str]) -> dict[str, Stat]:
        """See `Files`."""
        sure = self._sure

        def task(path: str) -> Task[tuple[str, Stat | None]]:
            return path, (yield from looking.look(path, sure=sure))

        with self._speaking("files", "look at"):
            found = dict(self._sftp.all(map(task, paths), handles=0))
            return {path: stat for path, stat in found.items() if stat}

    def names(self, folder: str) -> list[str] | None:
        """See `Files`."""
        with self._speaking(folder, "list"):
            found = self._sftp.do(looking.entries(folder))
            return None if found is None else sorted({entry.name for entry in found})

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `Files`."""

        def task(path: str) -> Task[tuple[str, bytes | None]]:
            return path, (yield from looking.contents(path, self._sftp.read_piece))

        with self._speaking("files", "read"):
            found = dict(self._sftp.all(map(task, paths)))
            return {path: data for path, data in found.items() if data is not None}

    def target(self, path: str) -> str | None:
        """See `Files`."""
        with self._speaking(path, "read"):
            return self._sftp.do(looking.target(path))

    def free(self, path: str) -> int | None:
        """See `Files`."""
        if not self._sftp.offers(requests.STATVFS):
            return None
        with self._speaking(path, "ask for the room at"):
            return self._sftp.do(looking.free(path))

    def mkdir(self, path: str, mode: int) -> bool:
        """See `Files`."""
        with self._speaking(path, "make"):
            return self._sftp.do(changing.make_folder(path, mode))

    def mkdirs(self, folders: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        # A server may carry out requests in any order: first all of one depth, then the next.
        for _, level in groupby(sorted(folders, key=_depth), key=_depth):
            tasks = (changing.make_folder(path, mode, keep=True) for path, mode in level)
            self._all(tasks, "folders", "make", handles=0)

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """See `Files`."""

        def pieces(size: int) -> Iterator[bytes]:
            return iter(partial(source.read, size), b"")

        self._write([File(path, mode, pieces)], sent or (lambda _size: None), flush=True)

    def write_all(self, files: Iterable[File], sent: Callable[[int], None]) -> None:
        """See `Files`."""
        self._write(files, sent, flush=False)

    def _write(self, files: Iterable[File], sent: Callable[[int], None], *, flush: bool) -> None:
        def task(file: File) -> Task[None]:
            # SFTP has no way to flush a whole tree, and later runs take a file for whole by its
            # mtime: so that one must not outlive a power cut alone. OpenSSH on ext4 takes 0.7 ms
            # longer a file for it, on tmpfs no time that could be measured.
            durable = flush or file.mtime is not None
            return writing.write(file, self._sftp.piece, sent, flush=durable and self._flushes)

        self._all(map(task, files), "files")

    def append(self, path: str, data: bytes, mode: int) -> None:
        """See `Files`."""
        with self._speaking(path):
            piece = self._sftp.piece
            self._sftp.do(writing.append(path, data, mode, piece, flush=self._flushes))

    def copy_all(self, copies: Iterable[Copy]) -> set[str]:
        """See `Files`."""
        if not self.copies:
            return set()
        with self._speaking("files", "copy"):
            flush = self._flushes
            tasks = (writing.copy(copy, flush=flush) for copy in copies)
            made = set(self._sftp.all(tasks, handles=2))
            return {path for path in made if path}

    def modes(self, modes: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        tasks = (changing.set_mode(path, mode) for path, mode in modes)
        self._all(tasks, "files", "set attributes of", handles=0)

    def symlinks(self, links: Iterable[tuple[str, str]]) -> None:
        """See `Files`."""
        tasks = (changing.symlink(target, path) for target, path in links)
        self._all(tasks, "links", "make", handles=0)

    def rename(self, old: str, new: str) -> None:
        """See `Files`."""
        with self._speaking(new, "name"):
            self._sftp.do(changing.rename(old, new, replaces=self.replaces, sure=self._sure))

    def move(self, old: str, new: str) -> bool:
        """See `Files`."""
        with self._speaking(new, "name"):
            return self._sftp.do(changing.move(old, new, sure=self._sure))

    def remove(self, paths: Iterable[str]) -> None:
        """See `Files`."""
        with self._speaking("files", "remove"):
            remove_all(self._sftp, paths)

    def rmdir(self, path: str) -> bool:
        """See `Files`."""
        with self._speaking(path, "remove"):
            return self._sftp.do(changing.remove_folder(path))

    def _all(
        self, tasks: Iterable[Task[Any]], about: str, act: str = "write", *, handles: int = 1
    ) -> None:
        with self._speaking(about, act):
            for _ in self._sftp.all(tasks, handles):
                pass

    @contextmanager
    def _speaking(self, about: str, act: str = "write") -> Iterator[None]:
        """Be the only one who speaks, and turn what goes wrong into our errors."""
        with self._one:
            try:
                yield
            except Refused as error:
                status, request = error.status, error.request
                reason = REASONS.get(status.code) or status.message[:SHOWN] or f"code {status.code}"
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
