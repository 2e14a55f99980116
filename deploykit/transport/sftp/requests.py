"""What is asked of an SFTP server: one function a request, section 6 of the draft."""

from __future__ import annotations

import struct
from typing import Final

from deploykit.transport.sftp.packets import (
    Attributes,
    Data,
    Extended,
    Flag,
    Handle,
    Kind,
    Names,
    Reply,
    Request,
    Status,
)

__all__ = [
    "COPY_DATA",
    "FSYNC",
    "LIMITS",
    "LISTED",
    "LSETSTAT",
    "POSIX_RENAME",
    "STATVFS",
    "close",
    "copy_data",
    "fsetstat",
    "fstat",
    "fsync",
    "limits",
    "lstat",
    "mkdir",
    "open_dir",
    "open_file",
    "posix_rename",
    "read",
    "readdir",
    "readlink",
    "remove",
    "rename",
    "rmdir",
    "setstat",
    "statvfs",
    "symlink",
    "write",
]

COPY_DATA: Final = "copy-data"
FSYNC: Final = "fsync@openssh.com"
LIMITS: Final = "limits@openssh.com"
LSETSTAT: Final = "lsetstat@openssh.com"  # a sign of servers that know a link from its target
POSIX_RENAME: Final = "posix-rename@openssh.com"
STATVFS: Final = "statvfs@openssh.com"
LISTED: Final = 1 << 15  # bytes that names are expected to come in; OpenSSH says a hundred at once


def open_file(path: str, flags: Flag, mode: int | None = None) -> Request:
    """Open a file; *mode* is that of one that is made. Answered by a handle."""
    body = _text(path) + struct.pack(">I", flags) + Attributes(mode=mode).encoded()
    act = "write" if flags & Flag.WRITE else "read"
    return Request(Kind.OPEN, body, path, act, Handle)


def close(handle: bytes, path: str, act: str = "write") -> Request:
    """Close what *handle* stands for. Only now it is known that all of it was written."""
    return Request(Kind.CLOSE, _string(handle), path, act)


def read(handle: bytes, offset: int, size: int, path: str) -> Request:
    """Read up to *size* bytes at *offset*. Answered by data, at the end of the file by none."""
    body = _string(handle) + struct.pack(">QI", offset, size)
    return Request(Kind.READ, body, path, "read", Data, Data(b""), size)


def write(handle: bytes, offset: int, data: bytes, path: str) -> Request:
    """Write *data* at *offset*."""
    body = _string(handle) + struct.pack(">Q", offset) + _string(data)
    return Request(Kind.WRITE, body, path, "write")


def fsetstat(handle: bytes, attributes: Attributes, path: str) -> Request:
    """Set attributes of an open file."""
    return Request(Kind.FSETSTAT, _string(handle) + attributes.encoded(), path, "set attributes of")


def setstat(path: str, attributes: Attributes) -> Request:
    """Set attributes."""
    return Request(Kind.SETSTAT, _text(path) + attributes.encoded(), path, "set attributes of")


def lstat(path: str) -> Request:
    """Look at *path*, and not at what it points to. Answered by attributes."""
    return Request(Kind.LSTAT, _text(path), path, "look at", Attributes)


def fstat(handle: bytes, path: str) -> Request:
    """Look at an open file. Answered by attributes."""
    return Request(Kind.FSTAT, _string(handle), path, "look at", Attributes)


def open_dir(path: str) -> Request:
    """Open a folder, to list what is in it. Answered by a handle."""
    return Request(Kind.OPENDIR, _text(path), path, "list", Handle)


def readdir(handle: bytes, path: str) -> Request:
    """List some more of an open folder. Answered by names, at the end by none."""
    return Request(Kind.READDIR, _string(handle), path, "list", Names, Names(()), LISTED)


def readlink(path: str) -> Request:
    """Read a link. Answered by one name."""
    return Request(Kind.READLINK, _text(path), path, "read", Names)


def mkdir(path: str, mode: int) -> Request:
    """Make a folder."""
    return Request(Kind.MKDIR, _text(path) + Attributes(mode=mode).encoded(), path, "make")


def remove(path: str) -> Request:
    """Remove a file or link."""
    return Request(Kind.REMOVE, _text(path), path, "remove")


def rmdir(path: str) -> Request:
    """Remove an empty folder."""
    return Request(Kind.RMDIR, _text(path), path, "remove")


def rename(old: str, new: str) -> Request:
    """Rename; section 6.5: it is an error if *new* is there."""
    return Request(Kind.RENAME, _text(old) + _text(new), new, "name")


def symlink(target: str, path: str) -> Request:
    """Make a link at *path*; in OpenSSH's order, PROTOCOL 4.1, which other servers follow."""
    return Request(Kind.SYMLINK, _text(target) + _text(path), path, "link")


def posix_rename(old: str, new: str) -> Request:
    """Rename, replacing what is there in one step; PROTOCOL 4.3."""
    return _extended(POSIX_RENAME, _text(old) + _text(new), new, "name")


def statvfs(path: str) -> Request:
    """Ask for the room where *path* lies; PROTOCOL 4.4. Answered by an extended reply."""
    return _extended(STATVFS, _text(path), path, "ask for the room at", Extended)


def fsync(handle: bytes, path: str) -> Request:
    """Have an open file put on disk; PROTOCOL 4.6."""
    return _extended(FSYNC, _string(handle), path, "flush")


def limits() -> Request:
    """Ask what the server allows; PROTOCOL 4.8. Answered by an extended reply."""
    return _extended(LIMITS, b"", "", "ask for limits", Extended)


def copy_data(source: bytes, target: bytes, path: str) -> Request:
    """Have all of the open file *source* copied into the open file *target*; PROTOCOL 4.10."""
    # Both from their beginning, and a length of 0: to the end.
    body = _string(source) + struct.pack(">QQ", 0, 0) + _string(target) + struct.pack(">Q", 0)
    return _extended(COPY_DATA, body, path, "copy to")


def _extended(
    name: str, body: bytes, about: str, act: str, answer: type[Reply] = Status
) -> Request:
    return Request(Kind.EXTENDED, _text(name) + body, about, act, answer)


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _text(value: str) -> bytes:
    return _string(value.encode("utf-8", "surrogateescape"))
