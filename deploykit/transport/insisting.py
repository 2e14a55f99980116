"""A host's files, asked again after a lost link."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import BinaryIO, TypeVar

from deploykit.files import Copy, File, Files, Stat
from deploykit.transport.retrying import RetryingTransport

__all__ = ["InsistingFiles"]

T = TypeVar("T")


class InsistingFiles:
    """
    `Files` of which everything may be done twice, and is until the link's loss is no longer borne.

    Not `append`: of that nobody can tell whether it was done.

    Args:
        transport: to the host.
    """

    def __init__(self, transport: RetryingTransport) -> None:
        self._transport = transport

    def _do(self, work: Callable[[Files], T]) -> T:
        return self._transport.insist(lambda transport: work(transport.files()))

    @property
    def copies(self) -> bool:
        """See `Files`."""
        return self._do(lambda files: files.copies)

    @property
    def replaces(self) -> bool:
        """See `Files`."""
        return self._do(lambda files: files.replaces)

    def look(self, paths: Iterable[str]) -> dict[str, Stat]:
        """See `Files`."""
        listed = list(paths)
        return self._do(lambda files: files.look(listed))

    def names(self, folder: str) -> list[str] | None:
        """See `Files`."""
        return self._do(lambda files: files.names(folder))

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `Files`."""
        listed = list(paths)
        return self._do(lambda files: files.read(listed))

    def target(self, path: str) -> str | None:
        """See `Files`."""
        return self._do(lambda files: files.target(path))

    def free(self, path: str) -> int | None:
        """See `Files`."""
        return self._do(lambda files: files.free(path))

    def mkdir(self, path: str, mode: int) -> bool:
        """See `Files`; after a lost link, one that is there may be the one it made."""
        return self._do(lambda files: files.mkdir(path, mode))

    def mkdirs(self, folders: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        listed = list(folders)
        self._do(lambda files: files.mkdirs(listed))

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """See `Files`; *source* is kept in memory."""
        content = source.read()
        self._do(lambda files: files.write(io.BytesIO(content), path, mode, sent))

    def write_all(self, files: Iterable[File], sent: Callable[[int], None]) -> None:
        """See `Files`; *sent* may be told of a piece more than once."""
        listed = list(files)
        self._do(lambda there: there.write_all(listed, sent))

    def append(self, path: str, data: bytes, mode: int) -> None:
        """See `Files`; a lost link is an error."""
        self._transport.once(lambda transport: transport.files().append(path, data, mode))

    def copy_all(self, copies: Iterable[Copy]) -> set[str]:
        """See `Files`."""
        listed = list(copies)
        return self._do(lambda files: files.copy_all(listed))

    def modes(self, modes: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        listed = list(modes)
        self._do(lambda files: files.modes(listed))

    def symlinks(self, links: Iterable[tuple[str, str]]) -> None:
        """See `Files`."""
        listed = list(links)
        self._do(lambda files: files.symlinks(listed))

    def rename(self, old: str, new: str) -> None:
        """See `Files`."""
        self._again(lambda files: files.rename(old, new), old, new)

    def move(self, old: str, new: str) -> bool:
        """See `Files`."""
        return self._again(lambda files: files.move(old, new), old, new) is not False

    def remove(self, paths: Iterable[str]) -> None:
        """See `Files`."""
        listed = list(paths)
        self._do(lambda files: files.remove(listed))

    def rmdir(self, path: str) -> bool:
        """See `Files`."""
        return self._do(lambda files: files.rmdir(path))

    def _again(self, work: Callable[[Files], T], old: str, new: str) -> T | None:
        """Do *work*, which names *old* as *new*; None if it was done, and only its answer lost."""
        tried = False

        def attempt(files: Files) -> T | None:
            nonlocal tried
            # A name that is gone can only have been given by us, before the link was lost.
            if tried and new in (there := files.look([old, new])) and old not in there:
                return None
            tried = True
            return work(files)

        return self._do(attempt)
