"""What SFTP version 3 speaks of: types of packets, codes, attributes, requests and answers."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final

__all__ = [
    "VERSION",
    "Attributes",
    "Code",
    "Data",
    "Extended",
    "Flag",
    "Handle",
    "Kind",
    "Name",
    "Names",
    "ProtocolError",
    "Reply",
    "Request",
    "Status",
    "Version",
]

VERSION: Final = 3


class ProtocolError(Exception):
    """The other side does not speak SFTP, or not well."""


class Kind(IntEnum):
    """Types of packets that are used here, section 3."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    RENAME = 18
    READLINK = 19
    SYMLINK = 20
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Code(IntEnum):
    """What a status says, section 7: the codes that make a difference here."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    FAILURE = 4
    OP_UNSUPPORTED = 8


class Flag(IntFlag):
    """How a file is opened, section 6.3."""

    READ = 1
    WRITE = 2
    APPEND = 4
    CREATE = 8
    TRUNCATE = 16


@dataclass(frozen=True)
class Attributes:
    """
    Attributes of a file, section 5; None is not said.

    Args:
        size: in bytes.
        uid: of the owner, goes with *gid*.
        gid: of the group.
        mode: type and permission bits.
        atime: in seconds since 1970, goes with *mtime*.
        mtime: in seconds since 1970.
    """

    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    atime: int | None = None
    mtime: int | None = None

    def encoded(self) -> bytes:
        """Return them as they stand in a packet."""
        flags, out = 0, b""
        if self.size is not None:
            flags, out = flags | 1, out + struct.pack(">Q", self.size)
        if self.uid is not None and self.gid is not None:
            flags, out = flags | 2, out + struct.pack(">II", self.uid, self.gid)
        if self.mode is not None:
            flags, out = flags | 4, out + struct.pack(">I", self.mode)
        if self.mtime is not None:
            atime = self.mtime if self.atime is None else self.atime
            flags, out = flags | 8, out + struct.pack(">II", atime, self.mtime)
        return struct.pack(">I", flags) + out


@dataclass(frozen=True)
class Status:
    """How a request ended, where nothing else is answered."""

    code: int
    message: str

    @property
    def ok(self) -> bool:
        """Return whether it was done."""
        return self.code == Code.OK


@dataclass(frozen=True)
class Handle:
    """An open file."""

    value: bytes


@dataclass(frozen=True)
class Data:
    """A piece of a file; empty at its end."""

    value: bytes


@dataclass(frozen=True)
class Name:
    """A name, as the server says it, and what it says of what has it."""

    name: str
    attributes: Attributes


@dataclass(frozen=True)
class Names:
    """Some of the names in a folder, none at its end; or what a link contains."""

    names: tuple[Name, ...]


@dataclass(frozen=True)
class Extended:
    """The answer to an extension's request."""

    body: bytes


Reply = Status | Handle | Attributes | Data | Names | Extended


@dataclass(frozen=True)
class Request:
    """
    Something that is asked of the server.

    Args:
        kind: of the packet.
        body: after its number.
        about: the path that it is about, for errors.
        act: what is done, for errors: `write`.
        answer: what it is answered by when it is done; a status, if nothing has to be told.
        at_end: the answer that the status of an end of file stands for.
        awaits: bytes of its answer, as far as it was asked for that many.
    """

    kind: Kind
    body: bytes = field(repr=False)
    about: str
    act: str
    answer: type[Reply] = Status
    at_end: Reply | None = None
    awaits: int = 0

    def packet(self, number: int) -> bytes:
        """Return the whole packet."""
        return struct.pack(">IBI", len(self.body) + 5, self.kind, number) + self.body


@dataclass(frozen=True)
class Version:
    """
    What the server says first.

    Args:
        number: of the protocol.
        extensions: that it offers, with their versions.
    """

    number: int
    extensions: Mapping[str, str]
