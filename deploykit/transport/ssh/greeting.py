"""What a login shell says before the SFTP server does."""

from __future__ import annotations

import re

import paramiko

__all__ = ["AfterBanner"]


class AfterBanner:
    """
    A channel whose first packet is the SFTP server's, whatever the login shell prints before it.

    sshd starts the server by the user's shell, and some `.bashrc` greet. The first packet is the
    server's version: its length, then type 2 and version 3.
    """

    FIRST = re.compile(rb"\x00\x00[\x00-\xff]{2}\x02\x00\x00\x00\x03")
    LONGEST = 1 << 20  # bytes of a greeting; no first packet comes after so many
    BATCH = 1 << 12  # bytes that are looked at together, with the end of those before

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._left: bytes | None = None

    def sendall(self, data: bytes) -> None:
        """Send all of *data*."""
        self._channel.sendall(data)

    def recv(self, size: int) -> bytes:
        """Return up to *size* bytes, none of them from before the first packet."""
        if self._left is None:
            self._left = self._first()
        if self._left:
            piece, self._left = self._left[:size], self._left[size:]
            return piece
        return self._channel.recv(size)

    def _first(self) -> bytes:
        head = bytearray()
        while not (found := self.FIRST.search(head, max(0, len(head) - self.BATCH - 9))):
            piece = self._channel.recv(self.BATCH)
            if not piece or len(head) > self.LONGEST:
                return bytes(head)
            head += piece
        return bytes(head[found.start() :])
