"""
A tree as one stream: a tar archive, compressed where that is faster than the link.

The archive is that of GNU tar, which busybox reads too. It is cut into chunks, and each is a gzip
member of its own (RFC 1952 §2.2: members follow one another, and unpack as one), compressed or
merely stored: what pays is measured while it is sent.
"""

from __future__ import annotations

import tarfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from deploykit.transport.base import File

__all__ = ["Folder", "Link", "Sized", "archived", "packed"]

CHUNK = 1 << 17  # bytes of the archive that are compressed together: four windows of deflate
BLOCK = tarfile.BLOCKSIZE
LEVEL = 1  # of gzip: what a slow link gains by a higher one, a fast one loses several times
GZIP = 31  # zlib's name for a gzip member with the largest window
PROBE = 16  # chunks, of which one is compressed to see what that would do now
# Sockets and SSH's window swallow what is sent first, so that every link seems fast.
UNBELIEVED = 4 << 20  # bytes
SLOW = 1 / 12.5e6  # seconds a byte until the link is measured: 100 Mbit/s


@dataclass(frozen=True)
class Folder:
    """A folder to be made; its path is relative."""

    path: str


@dataclass(frozen=True)
class Link:
    """A symbolic link to be made; its path is relative."""

    path: str
    target: str


@dataclass(frozen=True)
class Sized:
    """
    A file to be written; its path is relative.

    Args:
        file: what it contains.
        size: bytes that it gives.
        changed: seconds since 1970 at which it was changed last.
    """

    file: File
    size: int
    changed: int


def archived(members: Iterable[Folder | Link | Sized]) -> Iterator[bytes]:
    """
    Give the archive of *members* in pieces, whatever their size.

    Raises:
        ValueError: a file has given more or less than it was to.
    """
    now = int(time.time())
    for member in members:
        if isinstance(member, Folder):
            yield _header(member.path, tarfile.DIRTYPE, 0o700, now)
        elif isinstance(member, Link):
            yield _header(member.path, tarfile.SYMTYPE, 0o777, now, target=member.target)
        else:
            yield from _file(member)
    yield bytes(2 * BLOCK)


def _file(member: Sized) -> Iterator[bytes]:
    file, given = member.file, 0
    yield _header(file.path, tarfile.REGTYPE, file.mode | 0o600, member.changed, size=member.size)
    for piece in file.pieces(CHUNK):
        given += len(piece)
        yield piece
    if given != member.size:
        raise ValueError(f"{file.path} has {given} bytes, not {member.size}")
    yield bytes(-given % BLOCK)


def _header(
    path: str, kind: bytes, mode: int, changed: int, *, size: int = 0, target: str = ""
) -> bytes:
    info = tarfile.TarInfo(f"./{path}")
    info.type, info.mode, info.mtime = kind, mode, changed
    info.size, info.linkname = size, target
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def packed(pieces: Iterable[bytes], clock: Callable[[], float] = time.monotonic) -> Iterator[bytes]:
    """
    Give *pieces* as gzip members, each compressed if that was the faster way to send the last ones.

    Sending a byte takes *link* seconds. Compressing takes *cost* and leaves *ratio* of it, so that
    it pays where `cost + ratio * link < link`.

    Args:
        pieces: what is to be sent.
        clock: seconds; a member is being sent until the next one is asked for.
    """
    link, cost, ratio = SLOW, 0.0, 0.0
    sent = 0
    for number, chunk in enumerate(_chunks(pieces)):
        began = clock()
        if number % PROBE == 0 or cost + ratio * link < link:
            member = _member(chunk, LEVEL)
            cost, ratio = (clock() - began) / len(chunk), len(member) / len(chunk)
        else:
            member = _member(chunk, 0)
        began = clock()
        yield member
        sent += len(member)
        if sent > UNBELIEVED:
            link += ((clock() - began) / len(member) - link) / 4  # the last ones count most


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for piece in pieces:
        chunk += piece
        while len(chunk) >= CHUNK:
            yield bytes(chunk[:CHUNK])
            del chunk[:CHUNK]
    if chunk:
        yield bytes(chunk)


def _member(chunk: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, GZIP)
    return packer.compress(chunk) + packer.flush()
