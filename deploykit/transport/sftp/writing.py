"""Tasks that write one file each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from deploykit.files import Copy, File
from deploykit.transport.sftp import requests
from deploykit.transport.sftp.packets import Attributes, Code, Flag, Handle, Request
from deploykit.transport.sftp.tasks import ANSWERED, Ahead, Refused, Task, Together, closing, using

__all__ = ["append", "copy", "write"]


def write(file: File, piece: int, sent: Callable[[int], None], *, flush: bool) -> Task[None]:
    """
    Write *file*, replacing what is there; sections 6.3 and 6.4.

    Args:
        file: what and where to.
        piece: bytes in one request.
        sent: told the number of bytes of each.
        flush: have it put on disk, before it gets its mtime; the server can.
    """

    def work(handle: bytes) -> Task[None]:
        # Before its content, which may be secret; requests about a handle are done in their order.
        if file.mtime is None:
            yield Ahead(requests.fsetstat(handle, Attributes(mode=file.mode), file.path))
        at = 0
        for data in file.pieces(piece):
            yield Ahead(requests.write(handle, at, data, file.path))
            at += len(data)
            sent(len(data))
        if flush:
            yield Ahead(requests.fsync(handle, file.path))
        if file.mtime is not None:
            yield ANSWERED  # a refused piece is no reason for a server not to set what follows it
            marks = Attributes(mode=file.mode, mtime=file.mtime)
            yield Ahead(requests.fsetstat(handle, marks, file.path))

    return using(_anew(file.path, file.mode), work)


def _anew(path: str, mode: int) -> Request:
    """Open a file to write it anew; one that is made is its owner's alone until it has its mode."""
    return requests.open_file(path, Flag.WRITE | Flag.CREATE | Flag.TRUNCATE, mode & 0o700)


def append(path: str, data: bytes, mode: int, piece: int, *, flush: bool) -> Task[None]:
    """
    Put *data* at the end of a file, one piece after the other.

    Args:
        path: of the file.
        data: is sent in one request, if it is no longer than *piece*.
        mode: of a file that is made.
        piece: bytes in one request.
        flush: have it put on disk; the server can.
    """
    opening = requests.open_file(path, Flag.WRITE | Flag.CREATE | Flag.APPEND, mode)
    found, opened = yield Together((requests.lstat(path), opening))
    if isinstance(opened, Refused):
        raise opened
    handle = opened.value

    def work() -> Task[None]:
        made = isinstance(found, Refused)
        if made and found.status.code != Code.NO_SUCH_FILE:
            raise found
        if made:
            yield Ahead(requests.fsetstat(handle, Attributes(mode=mode), path))
        # Some servers take no notice of APPEND, the others none of the place: this is for both.
        end = 0 if made else found.size or 0
        last = max(0, (len(data) - 1) // piece * piece)
        for at in range(0, last, piece):
            yield requests.write(handle, end + at, data[at : at + piece], path)
        yield Ahead(requests.write(handle, end + last, data[last:], path))
        if flush:
            yield Ahead(requests.fsync(handle, path))

    yield from closing(handle, opening, work())


def copy(what: Copy, *, flush: bool) -> Task[str | None]:
    """
    Have the server copy a file; PROTOCOL 4.10.

    Args:
        what: is copied, and where to.
        flush: have the copy put on disk, before it gets its mtime; the server can.

    Returns:
        The path of the copy; None if the server does not make it.
    """

    def into(source: bytes, target: bytes) -> Task[None]:
        yield Ahead(requests.copy_data(source, target, what.path))
        if flush:
            yield Ahead(requests.fsync(target, what.path))
        yield ANSWERED
        marks = Attributes(mode=what.mode, mtime=what.mtime)
        yield Ahead(requests.fsetstat(target, marks, what.path))

    opening = (requests.open_file(what.source, Flag.READ), _anew(what.path, what.mode))
    source, target = yield Together(opening)
    if isinstance(source, Handle) and isinstance(target, Handle):
        inner = closing(target.value, opening[1], into(source.value, target.value))
        with suppress(Refused):
            yield from closing(source.value, opening[0], inner)
            yield ANSWERED
            return what.path
    else:
        for request, opened in zip(opening, (source, target), strict=True):
            if isinstance(opened, Handle):
                yield Ahead(requests.close(opened.value, request.about, request.act))
    with suppress(Refused):
        yield ANSWERED  # to the closing of what was open
    return None
