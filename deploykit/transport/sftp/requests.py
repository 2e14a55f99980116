"""What is asked of an SFTP server: one function a request, section 6 of the draft."""

from __future__ import annotations

import struct

from deploykit.transport.sftp.packets import (
    Attributes,
    Extended,
    Flag,
    Handle,
    Kind,
    Reply,
    Request,
    Status,
)

__all__ = [
    "close",
    "fsetstat",
    "limits",
    "lstat",
    "mkdir",
    "open_file",
    "posix_rename",
    "remove",
    "setstat",
    "symlink",
    "write",
]


def open_file(path: str, flags: Flag, mode: int | None = None) -> Request:
    """Open a file; *mode* is that of one that is made. Answered by a handle."""
    body = _text(path) + struct.pack(">I", flags) + Attributes(mode=mode).encoded()
    return Request(Kind.OPEN, body, path, "write", Handle)


def close(handle: bytes, path: str) -> Request:
    """Close what *handle* stands for. Only now it is known that all of it was written."""
    return Request(Kind.CLOSE, _string(handle), path, "write")


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


def mkdir(path: str, mode: int) -> Request:
    """Make a folder."""
    return Request(Kind.MKDIR, _text(path) + Attributes(mode=mode).encoded(), path, "make")


def remove(path: str) -> Request:
    """Remove a file or link."""
    return Request(Kind.REMOVE, _text(path), path, "remove")


def symlink(target: str, path: str) -> Request:
    """Make a link at *path*; in OpenSSH's order, PROTOCOL 4.1, which other servers follow."""
    return Request(Kind.SYMLINK, _text(target) + _text(path), path, "link")


def posix_rename(old: str, new: str) -> Request:
    """Rename, replacing what is there in one step; PROTOCOL 4.3."""
    return _extended("posix-rename@openssh.com", _text(old) + _text(new), new, "name")


def limits() -> Request:
    """Ask what the server allows; PROTOCOL 4.8. Answered by an extended reply."""
    return _extended("limits@openssh.com", b"", "", "ask for limits", Extended)


def _extended(
    name: str, body: bytes, about: str, act: str, answer: type[Reply] = Status
) -> Request:
    return Request(Kind.EXTENDED, _text(name) + body, about, act, answer)


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _text(value: str) -> bytes:
    return _string(value.encode("utf-8", "surrogateescape"))
