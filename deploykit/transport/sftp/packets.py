"""
SFTP version 3 on the wire: values in, bytes out, and back; no input or output here.

The protocol is draft-ietf-secsh-filexfer-02 (https://www.ietf.org/archive/id/
draft-ietf-secsh-filexfer-02.txt), which every server speaks; its sections are named where they
are used. The extensions are OpenSSH's (its file PROTOCOL, section 4), as is one deviation: the two
paths of a symlink request are in the other order than the draft says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final

__all__ = [
    "Attributes",
    "Code",
    "Extended",
    "Flag",
    "Handle",
    "Packets",
    "ProtocolError",
    "Reply",
    "Request",
    "Status",
    "Version",
]

VERSION: Final = 3
LONGEST: Final = 256 * 1024  # bytes of a packet; OpenSSH sends and takes no longer ones


class ProtocolError(Exception):
    """The other side does not speak SFTP, or not well."""


class Kind(IntEnum):
    """Types of packets that are used here, section 3."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    WRITE = 6
    LSTAT = 7
    SETSTAT = 9
    FSETSTAT = 10
    REMOVE = 13
    MKDIR = 14
    SYMLINK = 20
    STATUS = 101
    HANDLE = 102
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Code(IntEnum):
    """What a status says, section 7: the codes that make a difference here."""

    OK = 0
    NO_SUCH_FILE = 2
    FAILURE = 4


class Flag(IntFlag):
    """How a file is opened, section 6.3."""

    WRITE = 2
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
class Extended:
    """The answer to an extension's request."""

    body: bytes


Reply = Status | Handle | Attributes | Extended


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
    """

    kind: Kind
    body: bytes = field(repr=False)
    about: str
    act: str
    answer: type[Reply] = Status

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


class Packets:
    """Cuts what arrives into packets, however it arrives."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._left = bytearray()
        self._longest = longest

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Yield every packet that is complete with *data*, without its length.

        Raises:
            ProtocolError: one says that it is longer than any may be, or empty.
        """
        self._left += data
        at = 0
        while len(self._left) - at >= 4:
            (length,) = struct.unpack_from(">I", self._left, at)
            if not 1 <= length <= self._longest:
                raise ProtocolError(f"a packet of {length} bytes")
            if len(self._left) - at - 4 < length:
                break
            yield bytes(self._left[at + 4 : at + 4 + length])
            at += 4 + length
        del self._left[:at]


def hello() -> bytes:
    """Return what a client says first, section 4."""
    return struct.pack(">IBI", 5, Kind.INIT, VERSION)


def version(packet: bytes) -> Version:
    """
    Return what the server has said first, section 4.

    Raises:
        ProtocolError: it is something else.
    """
    fields = _Fields(packet)
    if fields.byte() != Kind.VERSION:
        raise ProtocolError(f"the first packet is of type {packet[0]}")
    number, extensions = fields.number(), {}
    while fields.left:
        name = fields.text()
        extensions[name] = fields.text()
    return Version(number, extensions)


def reply(packet: bytes) -> tuple[int, Reply]:
    """
    Return the number of the request that *packet* answers, and the answer.

    Raises:
        ProtocolError: it is malformed.
    """
    fields = _Fields(packet)
    kind, number = fields.byte(), fields.number()
    answer = _READ.get(kind)
    if answer is None:
        raise ProtocolError(f"an answer of type {kind}")
    return number, answer(fields)


class _Fields:
    """Takes one field after the other from a packet."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._at = 0

    @property
    def left(self) -> int:
        """Return how many bytes there are still."""
        return len(self._packet) - self._at

    def take(self, size: int) -> bytes:
        """Return the next *size* bytes."""
        if size > self.left:
            raise ProtocolError(f"a packet that ends {size - self.left} bytes too early")
        self._at += size
        return self._packet[self._at - size : self._at]

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def number(self) -> int:
        """Return the next number, of 32 bits."""
        return int.from_bytes(self.take(4), "big")

    def long(self) -> int:
        """Return the next number, of 64 bits."""
        return int.from_bytes(self.take(8), "big")

    def string(self) -> bytes:
        """Return the next string."""
        return self.take(self.number())

    def text(self) -> str:
        """Return the next string as text; what is no UTF-8 in it survives a way back."""
        return self.string().decode("utf-8", "surrogateescape")

    def attributes(self) -> Attributes:
        """Return the next attributes, section 5."""
        flags = self.number()
        size = self.long() if flags & 1 else None
        uid, gid = (self.number(), self.number()) if flags & 2 else (None, None)
        mode = self.number() if flags & 4 else None
        atime, mtime = (self.number(), self.number()) if flags & 8 else (None, None)
        if flags & 0x80000000:
            for _ in range(2 * self.number()):
                self.string()
        return Attributes(size, uid, gid, mode, atime, mtime)


def _status(fields: _Fields) -> Status:
    code = fields.number()
    # Servers of version 2 and some old ones leave the message out.
    return Status(code, fields.text() if fields.left else "")


_READ: Mapping[int, Callable[[_Fields], Reply]] = {
    Kind.STATUS: _status,
    Kind.HANDLE: lambda fields: Handle(fields.string()),
    Kind.ATTRS: _Fields.attributes,
    Kind.EXTENDED_REPLY: lambda fields: Extended(fields.take(fields.left)),
}
