"""A command's words: its input sent, both its streams read to their ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import paramiko

from deploykit.transport.boot import AfterMark
from deploykit.transport.ssh import limits
from deploykit.transport.ssh.link import LOST

__all__ = ["Conversation", "converse"]

UNKNOWN = -1


@dataclass(frozen=True)
class Conversation:
    """
    What came of a command.

    Args:
        exit_code: `UNKNOWN` where none came, because the connection or the shell was lost.
        stdout: what it printed.
        stderr: what it said.
        begun: our `sh` has read its line; if not, nothing was done.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    begun: bool

    @property
    def ended(self) -> bool:
        """Return whether it is known how the command ended."""
        return self.exit_code != UNKNOWN


def converse(
    channel: paramiko.Channel,
    pieces: Iterable[bytes],
    deadline: float | None,
    on_output: Callable[[bytes], None] | None,
) -> Conversation:
    """
    Send *pieces*, read both streams to their ends, and wait for the exit code.

    Raises:
        TimeoutError: *deadline*, on the monotonic clock, passed.
        Exception: whatever *pieces* raises.
    """
    out, err = AfterMark(on_output), AfterMark()
    failed: list[Exception] = []
    writer = threading.Thread(target=_send, args=(channel, pieces, failed), daemon=True)
    errors = threading.Thread(target=_drain, args=(channel, err), daemon=True)
    writer.start()
    errors.start()
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        try:
            piece = channel.recv(limits.PIECE)
        except TimeoutError:
            raise
        except LOST:
            return Conversation(UNKNOWN, out.kept, err.kept, err.seen)
        if not piece:
            break
        out(piece)
    if failed:  # it has closed the channel, and there is nothing to wait for
        raise failed[0]
    errors.join(limits.DEAD_AFTER)
    known = channel.status_event.wait(limits.DEAD_AFTER)
    code = channel.exit_status if known else UNKNOWN
    return Conversation(code, out.kept, err.kept, err.seen)


def _send(channel: paramiko.Channel, pieces: Iterable[bytes], failed: list[Exception]) -> None:
    try:
        for piece in pieces:
            channel.sendall(piece)
        channel.shutdown_write()
    except (OSError, EOFError):
        pass  # the reader sees how the command ended, and says it
    except Exception as error:  # noqa: BLE001  # the reader raises it
        failed.append(error)
        with suppress(*LOST):
            channel.close()


def _drain(channel: paramiko.Channel, take: Callable[[bytes], None]) -> None:
    with suppress(OSError, EOFError):  # as in _send
        while piece := channel.recv_stderr(limits.PIECE):
            take(piece)
