"""A TCP relay that cuts a connection after so many bytes."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Relay"]

PIECE = 1 << 12


class Relay:
    """
    Passes on what comes to a port of this machine, until it is told to cut.

    Args:
        address: to which it is passed on.
        port: of that.
    """

    def __init__(self, address: str, port: int) -> None:
        self._to = address, port
        self._left: int | None = None
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, size: int) -> None:
        """Cut the connection that sends the *size*-th byte from now, within that piece."""
        with self._lock:
            self._left = size

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._to)
                for one, other, counts in ((near, far, True), (far, near, False)):
                    threading.Thread(
                        target=self._pass, args=(one, other, counts), daemon=True
                    ).start()

    def _pass(self, one: socket.socket, other: socket.socket, counts: bool) -> None:
        with suppress(OSError):  # the other side was cut
            while piece := one.recv(PIECE):
                left = self._allowed(len(piece)) if counts else len(piece)
                other.sendall(piece[:left])
                if left < len(piece):
                    break
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _allowed(self, size: int) -> int:
        """Return how many of *size* bytes may pass."""
        with self._lock:
            if self._left is None:
                return size
            allowed = min(size, self._left)
            self._left -= allowed
            if allowed < size:
                self._left, self.cuts = None, self.cuts + 1
            return allowed
