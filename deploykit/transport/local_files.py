"""The files of this machine, as if they were a host's: for tests of the engine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from stat import S_IFMT, S_IMODE, S_IRWXU, S_ISDIR
from typing import BinaryIO

from deploykit.errors import TransferFailed
from deploykit.files import Copy, File, Stat
from deploykit.transport.sftp.looking import KINDS

__all__ = ["LocalFiles"]

PIECE = 1 << 16
ABSENT = (FileNotFoundError, NotADirectoryError)


class LocalFiles:
    """Files of this machine; nothing is flushed, as no test outlives the machine it runs on."""

    copies = True
    replaces = True

    def look(self, paths: Iterable[str]) -> dict[str, Stat]:
        """See `Files`."""
        with _naming("look at files"):
            return {path: found for path in paths if (found := _look(path))}

    def names(self, folder: str) -> list[str] | None:
        """See `Files`."""
        with _naming(f"list {folder}"):
            try:
                return sorted(os.listdir(folder))  # noqa: PTH208 - names, and not paths
            except ABSENT:
                return None

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `Files`."""
        found = {}
        for path in paths:
            with _naming(f"read {path}"):
                try:
                    found[path] = Path(path).read_bytes()
                except ABSENT:
                    continue
        return found

    def target(self, path: str) -> str | None:
        """See `Files`."""
        with _naming(f"read {path}"):
            found = _look(path)
            return str(Path(path).readlink()) if found and found.kind == "link" else None

    def free(self, path: str) -> int | None:
        """See `Files`."""
        try:
            return shutil.disk_usage(path).free
        except OSError:
            return None

    def mkdir(self, path: str, mode: int) -> bool:
        """See `Files`."""
        with _naming(f"make {path}"):
            made = not _look(path)
            Path(path).mkdir(exist_ok=True)
            Path(path).chmod(mode)
            return made

    def mkdirs(self, folders: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        for path, mode in sorted(folders):
            if not Path(path).is_dir():
                self.mkdir(path, mode)

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """See `Files`."""

        def pieces(size: int) -> Iterator[bytes]:
            return iter(partial(source.read, size), b"")

        self.write_all([File(path, mode, pieces)], sent or (lambda _size: None))

    def write_all(self, files: Iterable[File], sent: Callable[[int], None]) -> None:
        """See `Files`."""
        for file in files:
            with _naming(f"write {file.path}"), Path(file.path).open("wb") as target:
                Path(file.path).chmod(file.mode)
                for piece in file.pieces(PIECE):
                    target.write(piece)
                    sent(len(piece))
            if file.mtime is not None:
                os.utime(file.path, (file.mtime, file.mtime))

    def append(self, path: str, data: bytes, mode: int) -> None:
        """See `Files`."""
        with _naming(f"write {path}"):
            made = not _look(path)
            with Path(path).open("ab") as target:
                if made:
                    Path(path).chmod(mode)
                target.write(data)

    def copy_all(self, copies: Iterable[Copy]) -> set[str]:
        """See `Files`."""
        made = set()
        for copy in copies:
            try:
                shutil.copyfile(copy.source, copy.path)
                Path(copy.path).chmod(copy.mode)
                os.utime(copy.path, (copy.mtime, copy.mtime))
            except OSError:
                continue
            made.add(copy.path)
        return made

    def modes(self, modes: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        for path, mode in modes:
            with _naming(f"set attributes of {path}"):
                Path(path).chmod(mode)

    def symlinks(self, links: Iterable[tuple[str, str]]) -> None:
        """See `Files`."""
        for target, path in links:
            with _naming(f"link {path}"):
                if Path(path).is_symlink():
                    Path(path).unlink()
                Path(path).symlink_to(target)

    def rename(self, old: str, new: str) -> None:
        """See `Files`."""
        with _naming(f"name {new}"):
            Path(old).replace(new)

    def move(self, old: str, new: str) -> bool:
        """See `Files`; a folder with something in it is not replaced whoever comes between."""
        with _naming(f"name {new}"):
            if _look(new):
                return False
            try:
                Path(old).rename(new)
            except OSError:
                if _look(new):
                    return False
                raise
            return True

    def remove(self, paths: Iterable[str]) -> None:
        """See `Files`."""
        for path in paths:
            with _naming(f"remove {path}"):
                _remove(Path(path))

    def rmdir(self, path: str) -> bool:
        """See `Files`."""
        with _naming(f"remove {path}"):
            try:
                Path(path).rmdir()
            except OSError:
                found = _look(path)
                if found and (found.kind != "dir" or not self.names(path)):
                    raise
                return False
            return True


@contextmanager
def _naming(act: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TransferFailed(f"this machine: cannot {act}: {error.strerror}") from error


def _look(path: str) -> Stat | None:
    try:
        found = Path(path).lstat()
    except ABSENT:
        return None
    kind = KINDS.get(S_IFMT(found.st_mode), "other")
    return Stat(kind, S_IMODE(found.st_mode), found.st_size, int(found.st_mtime))


def _remove(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except ABSENT:
        return
    if not S_ISDIR(mode):
        path.unlink()
        return
    if mode & S_IRWXU != S_IRWXU:
        path.chmod(S_IMODE(mode) | S_IRWXU)
    for inside in list(path.iterdir()):
        _remove(inside)
    path.rmdir()
