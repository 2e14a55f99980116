"""What is asked of an SFTP server: one function a request, section 6 of the draft."""

from __future__ import annotations

import struct

from deploykit.transport.sftp.packets import Attributes, Flag, Kind, Request

__all__ = [
    "Request",
    "close",
    "copy_data",
    "fsetstat",
    "fsync",
    "hardlink",
    "limits",
    "lstat",
    "mkdir",
    "open_file",
    "open_folder",
    "posix_rename",
    "read",
    "read_folder",
    "readlink",
    "remove",
    "rename",
    "rmdir",
    "setstat",
    "statvfs",
    "symlink",
    "write",
]


def open_file(path: str, flags: Flag, mode: int | None = None) -> Request:
    """Open a file; *mode* is that of one that is made. Answered by a handle."""
    body = _text(path) + struct.pack(">I", flags) + Attributes(mode=mode).encoded()
    return Request(Kind.OPEN, body, path, "write" if flags & Flag.WRITE else "read")


def close(handle: bytes, path: str) -> Request:
    """Close what *handle* stands for. Only now it is known that all of it was written."""
    return Request(Kind.CLOSE, _string(handle), path, "write")


def write(handle: bytes, offset: int, data: bytes, path: str) -> Request:
    """Write *data* at *offset*."""
    body = _string(handle) + struct.pack(">Q", offset) + _string(data)
    return Request(Kind.WRITE, body, path, "write")


def read(handle: bytes, offset: int, size: int, path: str) -> Request:
    """Read up to *size* bytes at *offset*. Answered by data, or the status EOF."""
    return Request(Kind.READ, _string(handle) + struct.pack(">QI", offset, size), path, "read")


def fsetstat(handle: bytes, attributes: Attributes, path: str) -> Request:
    """Set attributes of an open file."""
    return Request(Kind.FSETSTAT, _string(handle) + attributes.encoded(), path, "set attributes of")


def setstat(path: str, attributes: Attributes) -> Request:
    """Set attributes."""
    return Request(Kind.SETSTAT, _text(path) + attributes.encoded(), path, "set attributes of")


def lstat(path: str) -> Request:
    """Look at *path*, and not at what it points to. Answered by attributes."""
    return Request(Kind.LSTAT, _text(path), path, "look at")


def mkdir(path: str, mode: int) -> Request:
    """Make a folder."""
    return Request(Kind.MKDIR, _text(path) + Attributes(mode=mode).encoded(), path, "make")


def rmdir(path: str) -> Request:
    """Remove an empty folder."""
    return Request(Kind.RMDIR, _text(path), path, "remove")


def remove(path: str) -> Request:
    """Remove a file or link."""
    return Request(Kind.REMOVE, _text(path), path, "remove")


def rename(old: str, new: str) -> Request:
    """Rename; most servers refuse it where *new* is there."""
    return Request(Kind.RENAME, _text(old) + _text(new), new, "name")


def readlink(path: str) -> Request:
    """Read a link. Answered by one name."""
    return Request(Kind.READLINK, _text(path), path, "read the link")


def symlink(target: str, path: str) -> Request:
    """Make a link at *path*; in OpenSSH's order, PROTOCOL 4.1, which other servers follow."""
    return Request(Kind.SYMLINK, _text(target) + _text(path), path, "link")


def open_folder(path: str) -> Request:
    """Open a folder. Answered by a handle."""
    return Request(Kind.OPENDIR, _text(path), path, "list")


def read_folder(handle: bytes, path: str) -> Request:
    """Read more of a folder. Answered by names, or the status EOF."""
    return Request(Kind.READDIR, _string(handle), path, "list")


def posix_rename(old: str, new: str) -> Request:
    """Rename, replacing what is there in one step; PROTOCOL 4.3."""
    return _extended("posix-rename@openssh.com", _text(old) + _text(new), new, "name")


def hardlink(old: str, new: str) -> Request:
    """Give a file a second name; PROTOCOL 4.5."""
    return _extended("hardlink@openssh.com", _text(old) + _text(new), new, "link")


def fsync(handle: bytes, path: str) -> Request:
    """Have an open file flushed to the disk; PROTOCOL 4.6."""
    return _extended("fsync@openssh.com", _string(handle), path, "flush")


def statvfs(path: str) -> Request:
    """Look at the file system of *path*; PROTOCOL 4.4. Answered by an extended reply."""
    return _extended("statvfs@openssh.com", _text(path), path, "look at the disk of")


def limits() -> Request:
    """Ask what the server allows; PROTOCOL 4.8. Answered by an extended reply."""
    return _extended("limits@openssh.com", b"", "", "ask for limits")


def copy_data(source: bytes, target: bytes, path: str) -> Request:
    """Copy all of an open file to another; PROTOCOL 4.10."""
    body = _string(source) + struct.pack(">QQ", 0, 0) + _string(target) + struct.pack(">Q", 0)
    return _extended("copy-data", body, path, "copy")


def _extended(name: str, body: bytes, about: str, act: str) -> Request:
    return Request(Kind.EXTENDED, _text(name) + body, about, act)


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _text(value: str) -> bytes:
    return _string(value.encode("utf-8", "surrogateescape"))
