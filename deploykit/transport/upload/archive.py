"""
Files as one stream: a tar archive.

It is that of GNU tar, which busybox reads too: a header of 512 bytes, the content, and nulls up to
the next multiple of 512 (GNU tar's manual, "Basic Tar Format").
"""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from deploykit.files import File

__all__ = ["PIECE", "Sized", "archived"]

PIECE = 1 << 17  # bytes of a file that are read at once
BLOCK = tarfile.BLOCKSIZE
LARGE = 8 << 30  # bytes that eleven octal digits cannot say
# name, mode, uid, gid, size, changed; then the sum of all bytes; type, target, magic, the rest.
HEAD, TAIL = struct.Struct("100s8s8s8s12s12s"), struct.Struct("c100s8s32s32s8s8s167x")
NOBODY = b"0000000\0"
REST = TAIL.pack(tarfile.REGTYPE, b"", tarfile.GNU_MAGIC, b"", b"", b"", b"")
REST_SUM = sum(REST) + 8 * ord(" ")  # the place of the sum itself counts as spaces


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


def archived(files: Iterable[Sized]) -> Iterator[bytes]:
    """
    Give the archive of *files* in pieces, whatever their size.

    Raises:
        ValueError: a file has given more or less than it was to.
    """
    for member in files:
        given = 0
        yield _header(member)
        for piece in member.file.pieces(PIECE):
            given += len(piece)
            yield piece
        if given != member.size:
            raise ValueError(f"{member.file.path} has {given} bytes, not {member.size}")
        yield bytes(-given % BLOCK)
    yield bytes(2 * BLOCK)


def _header(member: Sized) -> bytes:
    path, mode = f"./{member.file.path}", member.file.mode | 0o600
    name = path.encode()
    if len(name) > tarfile.LENGTH_NAME or member.size >= LARGE:
        info = tarfile.TarInfo(path)
        info.mode, info.size, info.mtime = mode, member.size, member.changed
        return info.tobuf(tarfile.GNU_FORMAT)
    # Ten times as fast as tarfile, which is as long about a small file as everything else.
    size, changed = b"%011o\0" % member.size, b"%011o\0" % max(member.changed, 0)
    head = HEAD.pack(name, b"%07o\0" % mode, NOBODY, NOBODY, size, changed)
    return b"".join((head, b"%06o\0 " % (sum(head) + REST_SUM), REST))
