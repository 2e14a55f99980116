"""One SSH connection, and the channels that are opened on it ahead of their use."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import paramiko

from deploykit.transport.boot import BOOT
from deploykit.transport.ssh import limits
from deploykit.transport.ssh.connecting import hang_up
from deploykit.transport.ssh.ordering import order

__all__ = ["LOST", "Link", "NoRoom", "Shell"]

# What paramiko raises where a connection has ended.
LOST = (paramiko.SSHException, EOFError, OSError)
# A server counts a session until it has heard of its end from us.
SETTLED = 1.0  # seconds
PAUSE = 0.05


class NoRoom(Exception):  # it says what is the matter
    """The server allows no further session on this connection (MaxSessions)."""


@dataclass(frozen=True)
class Shell:
    """
    A channel on which our `sh` waits for its line.

    Args:
        link: whose channel it is.
        channel: with `BOOT` started on it.
        spare: it was there before anybody asked for it, and may have ended meanwhile.
    """

    link: Link
    channel: paramiko.Channel
    spare: bool

    def close(self) -> None:
        """End it; what runs in it reads the end of its input."""
        with suppress(*LOST):  # the connection may be gone, which ends it too
            self.channel.close()
        self.link.released()


class Link:
    """
    One SSH connection.

    Opening a channel and starting `sh` on it costs two round trips before the first byte of a
    command can leave, so that some are kept waiting. They end with the connection: their input
    ends, and nothing was begun.

    Args:
        connection: Fabric's, open.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._transport: paramiko.Transport = connection.transport
        self._changed = threading.Condition()
        self._ready: list[tuple[float, paramiko.Channel]] = []  # since when
        self._wanted = 0  # by those who wait for one
        self._opening = 0
        self._used = 0
        self._full = False
        self._failure: Exception | None = None

    @property
    def alive(self) -> bool:
        """Return whether the connection stands, as far as is known."""
        return self._transport.is_active()

    @property
    def busy(self) -> bool:
        """Return whether anything is open on it."""
        return bool(self._used or self._opening or self._ready)

    @property
    def spares(self) -> tuple[paramiko.Channel, ...]:
        """The channels that wait for use."""
        return tuple(channel for _, channel in self._ready)

    def session(self) -> paramiko.Channel:
        """
        Return an open channel without anything on it.

        Raises:
            NoRoom: the server allows no more of them.
            SSHException: the connection has ended; also EOFError, OSError.
        """
        with self._changed:
            if self._full and self._used:
                raise NoRoom
            self._used += 1
        try:
            return self._opened()
        except BaseException:
            self.released()
            raise

    def shell(self) -> Shell:
        """
        Return a channel on which our `sh` waits: a spare, else a new one.

        Raises:
            NoRoom: the server allows no more of them.
            SSHException: the connection has ended; also EOFError, OSError.
        """
        asked = time.monotonic()
        with self._changed:
            self._wanted += 1
            self._failure = None
            try:
                while (found := self._next(asked)) is None:
                    self._refill()
                    if not self._opening:
                        raise self._why()
                    self._changed.wait()
            finally:
                self._wanted -= 1
            self._used += 1
            self._refill()
        return found

    def released(self) -> None:
        """Note that a channel of ours has ended, and that the server may have room again."""
        with self._changed:
            self._used -= 1
            self._full = False

    def close(self) -> None:
        """End the connection, and all that waits on it."""
        hang_up(self._connection)

    def _next(self, asked: float) -> Shell | None:
        while self._ready:
            since, channel = self._ready.pop(0)
            # One that was opened for us says itself why it has ended.
            if since > asked or waits(channel):
                return Shell(self, channel, spare=since <= asked)
        return None

    def _refill(self) -> None:
        """Open what is missing, in threads of its own."""
        missing = self._wanted + limits.SPARES - len(self._ready) - self._opening
        if self._failure is not None:
            missing = 0
        elif self._full:
            missing = 0 if self.busy else min(self._wanted, 1)
        for _ in range(missing):
            self._opening += 1
            threading.Thread(target=self._open_one, name="spare", daemon=True).start()

    def _open_one(self) -> None:
        try:
            channel = self._opened()
            channel.exec_command(BOOT)
        except Exception as error:  # noqa: BLE001  # whoever waits for it raises it
            with self._changed:
                self._failure = error
                self._opening -= 1
                self._changed.notify_all()
        else:
            with self._changed:
                self._ready.append((time.monotonic(), channel))
                self._opening -= 1
                self._changed.notify_all()

    def _why(self) -> Exception:
        return self._failure or NoRoom()

    def _opened(self) -> paramiko.Channel:
        end = time.monotonic() + SETTLED
        while True:
            try:
                return order(self._transport.open_session(timeout=limits.DEAD_AFTER))
            except paramiko.SSHException as error:
                if not self._refused(error):
                    raise
                with self._changed:
                    others = self._used + self._opening + len(self._ready) > 1
                    if others or time.monotonic() > end:
                        self._full = True
                        raise NoRoom from error
            time.sleep(PAUSE)

    def _refused(self, error: paramiko.SSHException) -> bool:
        # Of two that are refused at once, paramiko gives only one the reason.
        nameless = str(error) == "Unable to open channel."
        return self.alive and (isinstance(error, paramiko.ChannelException) or nameless)


def waits(channel: paramiko.Channel) -> bool:
    """Return whether *channel* is open on both sides, as far as is known."""
    ended = channel.closed or channel.eof_received or channel.exit_status_ready()
    return not ended
