"""Tasks that look at one file or folder each, and change nothing."""

from __future__ import annotations

import stat
import struct
from dataclasses import replace
from typing import Final, Literal

from deploykit.files import Stat
from deploykit.transport.sftp import requests
from deploykit.transport.sftp.packets import (
    Attributes,
    Code,
    Data,
    Extended,
    Flag,
    Name,
    Names,
    ProtocolError,
)
from deploykit.transport.sftp.tasks import Refused, Task, Together, using

__all__ = ["contents", "entries", "free", "look", "stat_of", "takes_for_target", "target"]

BATCH: Final = 16  # pieces of a file, or of a folder's names, that are asked for at once
LONGEST: Final = 256 << 20  # bytes of a file that is read; what we read are records and manifests
LEAST: Final = 512  # bytes of a file that are asked for at once where a server gives less
SHORT: Final = 1000  # times that it may give less than that, or than the time before
LISTING: Final = 64 << 20  # bytes of a folder's names, with BESIDES for each: a million of them
BESIDES: Final = 48  # bytes
KINDS: Final[dict[int, Literal["file", "dir", "link", "other"]]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
}


def look(path: str, *, sure: bool = False) -> Task[Stat | None]:
    """
    Return what lies under *path*, None if nothing does; section 6.8.

    Args:
        path: of what is looked at.
        sure: do not ask whether it is a link after all. Asking takes no more time for one path,
            but for thousands; proftpd's `lstat` follows links, so that removing one would remove
            the folder that it leads to.
    """
    found, link = yield from _both(path, sure=sure)
    if found and link:
        return replace(found, kind="link")
    return found


def takes_for_target(path: str) -> Task[bool]:
    """Return whether *path* is a link, and the server says that it is what it leads to."""
    found, link = yield from _both(path)
    return bool(found and link and found.kind != "link")


def _both(path: str, *, sure: bool = False) -> Task[tuple[Stat | None, Names | None]]:
    """Return what is said to lie there, and what is there where it is a link."""
    asked = (requests.lstat(path),) if sure else (requests.lstat(path), requests.readlink(path))
    found, *link = yield Together(asked)
    if isinstance(found, Refused):
        if found.status.code == Code.NO_SUCH_FILE:
            return None, None
        raise found
    return stat_of(found), next((one for one in link if isinstance(one, Names)), None)


def stat_of(found: Attributes) -> Stat:
    """Return what *found* says; what it does not say is taken for 0, and a kind for `other`."""
    mode = found.mode or 0
    kind = KINDS.get(stat.S_IFMT(mode), "other")
    return Stat(kind, stat.S_IMODE(mode), found.size or 0, found.mtime or 0)


def entries(folder: str) -> Task[list[Name] | None]:
    """
    Return what is in *folder*, without `.` and `..`, None if it is not there; section 6.7.

    Raises:
        ProtocolError: a name is none, or there are more of them than a folder can have.
    """
    try:
        return (yield from using(requests.open_dir(folder), lambda handle: _list(handle, folder)))
    except Refused as error:
        if error.status.code == Code.NO_SUCH_FILE:
            return None
        raise


def _list(handle: bytes, folder: str) -> Task[list[Name]]:
    found: list[Name] = []
    size, batch = 0, 2  # the second answer says that there are no more, for most folders
    while True:
        answers = yield Together((requests.readdir(handle, folder),) * batch)
        for answer in answers:
            if isinstance(answer, Refused):
                raise answer
            for entry in answer.names:
                size += len(entry.name) + BESIDES
                if entry.name not in (".", ".."):
                    found.append(_checked(entry, folder))
        if size > LISTING:
            raise ProtocolError(f"more than {LISTING} bytes of names in {folder}")
        if not all(answer.names for answer in answers):
            return found
        batch = min(2 * batch, BATCH)


def _checked(entry: Name, folder: str) -> Name:
    """Return *entry*: a name within *folder*, and no way out of it."""
    if not entry.name or "/" in entry.name or "\0" in entry.name:
        raise ProtocolError(f"the name {entry.name[:80]!r} in {folder}")
    return entry


def contents(path: str, piece: int) -> Task[bytes | None]:
    """
    Return what is in a file, None if it is not there; section 6.4.

    Args:
        path: of the file.
        piece: bytes that are asked for at once.

    Raises:
        Refused: it may not be read.
        ProtocolError: more than was asked for came, or it has no end.
    """
    opening = requests.open_file(path, Flag.READ)
    try:
        return (yield from using(opening, lambda handle: _read(handle, path, piece)))
    except Refused as error:
        if error.status.code == Code.NO_SUCH_FILE:
            return None
        raise


def _read(handle: bytes, path: str, piece: int) -> Task[bytes]:
    """
    Read to the end; with the first piece comes the size, so that a small file takes no more.

    A file that grows meanwhile may be read as far as it was.
    """
    out = bytearray()
    first, found = yield Together(
        (requests.read(handle, 0, piece, path), requests.fstat(handle, path))
    )
    size = 0 if isinstance(found, Refused) else found.size or 0
    if size > LONGEST:
        raise ProtocolError(f"{path} is {size} bytes long, and more than {LONGEST} are not read")
    answers, short = [first], 0
    while True:
        got = _take(out, answers, piece, path)
        if not got or len(out) == size:
            return bytes(out)
        if got < piece:
            # A server may give less than it was asked for; only none at all is the end.
            short, piece = short + 1, max(got, LEAST)
            if short > SHORT:
                raise ProtocolError(f"{path} comes in pieces of {got} bytes")
        count = min(BATCH, max(1, -((len(out) - size) // piece)))
        starts = [len(out) + n * piece for n in range(count)]
        answers = yield Together(
            tuple(requests.read(handle, start, piece, path) for start in starts)
        )


def _take(out: bytearray, answers: list[Data | Refused], piece: int, path: str) -> int:
    """Add to *out* what follows on it without a gap; return the bytes of the last that did."""
    got = piece
    for answer in answers:
        if isinstance(answer, Refused):
            raise answer
        got = len(answer.value)
        if got > piece:
            raise ProtocolError(f"{got} bytes of {path}, where {piece} were asked for")
        out += answer.value
        if len(out) > LONGEST:
            raise ProtocolError(f"{path} goes on after {LONGEST} bytes")
        if got < piece:
            break
    return got


def target(path: str) -> Task[str | None]:
    """
    Return what the link *path* contains, None if it is none; section 6.10.

    Raises:
        ProtocolError: the server says another number of targets than one.
    """
    # How reading what is no link is refused differs from server to server.
    found, link = yield from _both(path)
    if not found or not link:
        return None
    if len(link.names) != 1:
        raise ProtocolError(f"{len(link.names)} targets of {path}")
    return link.names[0].name


def free(path: str) -> Task[int | None]:
    """
    Return the bytes that we may still write where *path* lies, None if the server cannot tell.

    Raises:
        ProtocolError: its answer is too short; PROTOCOL 4.4.
    """
    try:
        answer: Extended = yield requests.statvfs(path)
    except Refused:
        return None
    if len(answer.body) < 88:
        raise ProtocolError("an answer without the room there is")
    _, fragment, _, _, available = struct.unpack_from(">QQQQQ", answer.body)
    return int(fragment * available)
