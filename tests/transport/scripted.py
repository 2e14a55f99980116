"""An SFTP server that says whatever it was told to, and files over it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import paramiko

from deploykit.transport.sftp.packets import Attributes, Code, Kind
from deploykit.transport.sftp.reading import Packets
from deploykit.transport.ssh.files import SSHFiles

__all__ = ["HELLO", "Said", "attrs", "data", "files", "handle", "names", "packed", "status"]

HELLO = struct.pack(">IBI", 5, Kind.VERSION, 3)


@dataclass
class Said:
    """
    A server that answers each request as it was told.

    Args:
        answer: given the type and number of a request, returns what is said to it.
        first: what is said at first.
        piece: bytes that are given at once.
    """

    answer: Callable[[int, int], bytes]
    first: bytes = HELLO
    piece: int = 7
    out: bytearray = field(default_factory=bytearray)
    longest: int = 0
    asked: list[bytes] = field(default_factory=list)
    unread: int = 0

    def sendall(self, data: bytes) -> None:
        """Take requests."""
        self.unread += len(data)
        self.longest = max(self.longest, self.unread)
        for packet in Packets().feed(data):
            if packet[0] == Kind.INIT:
                self.out += self.first
            else:
                self.asked.append(packet)
                self.out += self.answer(packet[0], int.from_bytes(packet[1:5], "big"))

    def recv(self, size: int) -> bytes:
        """Give some of what was answered."""
        self.unread = 0
        size = min(size, self.piece)
        piece = bytes(self.out[:size])
        del self.out[:size]
        return piece


def status(number: int, code: int = Code.OK, message: str = "") -> bytes:
    """Return a status, as a server sends it."""
    text = message.encode()
    body = struct.pack(">II", code, len(text)) + text + struct.pack(">I", 0)
    return packed(Kind.STATUS, number, body)


def handle(number: int, value: bytes = b"h") -> bytes:
    """Return a handle, as a server sends it."""
    return packed(Kind.HANDLE, number, string(value))


def data(number: int, value: bytes) -> bytes:
    """Return a piece of a file, as a server sends it."""
    return packed(Kind.DATA, number, string(value))


def attrs(number: int, attributes: Attributes) -> bytes:
    """Return attributes, as a server sends them."""
    return packed(Kind.ATTRS, number, attributes.encoded())


def names(number: int, found: Iterable[bytes], mode: int = 0o100644) -> bytes:
    """Return names of files of one *mode*, as a server sends them."""
    attributes = Attributes(mode=mode).encoded()
    entries = [string(name) + string(b"as ls prints it") + attributes for name in found]
    return packed(Kind.NAME, number, struct.pack(">I", len(entries)) + b"".join(entries))


def packed(kind: int, number: int, body: bytes) -> bytes:
    """Return a packet, with its length."""
    return struct.pack(">IBI", len(body) + 5, kind, number) + body


def string(value: bytes) -> bytes:
    """Return *value* with its length."""
    return struct.pack(">I", len(value)) + value


@dataclass
class Channel:
    """What of a channel is used, with *said* at its other end."""

    said: Said
    closed: bool = False

    def __post_init__(self) -> None:
        self.sendall, self.recv = self.said.sendall, self.said.recv

    def invoke_subsystem(self, name: str) -> None:
        """Start nothing."""

    def close(self) -> None:
        """Note it."""
        self.closed = True


def files(said: Said) -> SSHFiles:
    """Return files over *said*."""
    return SSHFiles(cast("paramiko.Channel", Channel(said)), "host")
