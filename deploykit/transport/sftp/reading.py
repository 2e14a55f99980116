"""SFTP version 3 on the wire: the bytes that arrive made into values; no input or output here."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from deploykit.transport.sftp.packets import (
    VERSION,
    Attributes,
    Code,
    Data,
    Extended,
    Handle,
    Kind,
    Name,
    Names,
    ProtocolError,
    Reply,
    Status,
    Version,
)

__all__ = ["LONGEST", "Packets", "hello", "reply", "version"]

LONGEST: Final = 256 * 1024  # bytes of a packet; OpenSSH sends and takes no longer ones
STATUS: Final = bytes([Kind.STATUS])
OK: Final = Code.OK.to_bytes(4, "big")
DONE: Final = Status(Code.OK, "")
ALL: Final = struct.Struct(">IQIIIII")  # flags, size, owner, group, mode and both times
ALL_FLAGS: Final = 0xF
LONGEST_HANDLE: Final = 256  # bytes; section 6.3


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
    if packet.startswith(STATUS) and packet[5:9] == OK:  # most answers, and they say no more
        return int.from_bytes(packet[1:5], "big"), DONE
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
        if self.left == ALL.size:
            flags, *known = ALL.unpack_from(self._packet, self._at)
            if flags == ALL_FLAGS:  # what OpenSSH says of any file, and nothing after it
                self._at += ALL.size
                return Attributes(*known)
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


def _handle(fields: _Fields) -> Handle:
    value = fields.string()
    if len(value) > LONGEST_HANDLE:  # it would go with every request for that file
        raise ProtocolError(f"a handle of {len(value)} bytes")
    return Handle(value)


def _names(fields: _Fields) -> Names:
    found = []
    for _ in range(fields.number()):
        name = fields.text()
        fields.string()  # as `ls -l` prints it, which differs from server to server
        found.append(Name(name, fields.attributes()))
    return Names(tuple(found))


_READ: Mapping[int, Callable[[_Fields], Reply]] = {
    Kind.STATUS: _status,
    Kind.HANDLE: _handle,
    Kind.DATA: lambda fields: Data(fields.string()),
    Kind.NAME: _names,
    Kind.ATTRS: _Fields.attributes,
    Kind.EXTENDED_REPLY: lambda fields: Extended(fields.take(fields.left)),
}
