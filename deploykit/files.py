"""A host's files, as SFTP knows them: what may be asked of them, whatever carries that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

__all__ = ["Copy", "File", "Files", "FilesToLookAt", "Stat"]


@dataclass(frozen=True)
class Stat:
    """
    What lies under a path, itself and not what it points to.

    Args:
        kind: a file, a folder, a symbolic link, or something else.
        mode: permission bits.
        size: in bytes.
        mtime: when its contents were last changed, in seconds since 1970.
    """

    kind: Literal["file", "dir", "link", "other"]
    mode: int
    size: int
    mtime: int


@dataclass(frozen=True)
class File:
    """
    A file to be written.

    Args:
        path: where to; not under a final name.
        mode: permission bits, set whatever the umask.
        pieces: gives its contents in pieces of at most so many bytes, read when they are asked for;
            what it raises ends the writing.
        mtime: in seconds since 1970; set once the server has answered for all of the contents, so
            that a file that has it is whole. None leaves the server's.
    """

    path: str
    mode: int
    pieces: Callable[[int], Iterator[bytes]]
    mtime: int | None = None


@dataclass(frozen=True)
class Copy:
    """
    A file to be copied by the server itself.

    Args:
        source: what is copied.
        path: where to; not under a final name.
        mode: permission bits, set whatever the umask.
        mtime: in seconds since 1970; set last, as that of a `File`.
    """

    source: str
    path: str
    mode: int
    mtime: int


class FilesToLookAt(Protocol):
    """A host's files, and nothing that changes them."""

    @property
    def copies(self) -> bool:
        """Whether the server offers to copy files by itself."""

    def look(self, paths: Iterable[str]) -> dict[str, Stat]:
        """Return what lies under each of *paths*, many at once; absent ones are left out."""

    def names(self, folder: str) -> list[str] | None:
        """Return the sorted names in *folder*, without `.` and `..`; None if it is not there."""

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Return the contents of files, many at once; absent ones are left out."""

    def target(self, path: str) -> str | None:
        """Return what the link *path* contains; None if it is not there, or no link."""

    def free(self, path: str) -> int | None:
        """Return the bytes that we may still write where *path* lies; None if nobody can tell."""


class Files(FilesToLookAt, Protocol):
    """
    A host's files, over SFTP.

    All of it raises:
        TransferFailed: refused, naming the path.
        LinkLost: the connection ended.
    """

    @property
    def replaces(self) -> bool:
        """Whether `rename` replaces what is there in one step."""

    def mkdir(self, path: str, mode: int) -> bool:
        """Make a folder and return true; of one that is there set the mode, and return false."""

    def mkdirs(self, folders: Iterable[tuple[str, int]]) -> None:
        """Make folders with their modes, a folder before what is in it; those there are left."""

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """
        Write *source* to *path*, replacing it, set its mode, and flush it where the server can.

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

    def append(self, path: str, data: bytes, mode: int) -> None:
        """Put *data* at the end of a file, made with *mode* if absent; flush where possible."""

    def copy_all(self, copies: Iterable[Copy]) -> set[str]:
        """
        Have files copied by the server itself, many at once.

        Returns:
            The paths that it made; it may make none. What it leaves in the place of another is
            no whole copy, and has not got its mtime.
        """

    def modes(self, modes: Iterable[tuple[str, int]]) -> None:
        """Set permission bits, many at once."""

    def symlinks(self, links: Iterable[tuple[str, str]]) -> None:
        """Make links, each a target and a path, replacing links that are there."""

    def rename(self, old: str, new: str) -> None:
        """
        Rename a file or link, replacing *new*: in one step where the server `replaces`.

        Raises:
            TransferFailed: also for a server that would rename what a link leads to; there,
                `symlinks` makes and replaces links all the same.
        """

    def move(self, old: str, new: str) -> bool:
        """Rename where nothing is; return false, with nothing changed, where something is."""

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, links and whole folders; absent ones are no error."""

    def rmdir(self, path: str) -> bool:
        """Remove an empty folder; return false where it has something in it, or is not there."""
