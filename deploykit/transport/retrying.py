"""Reaches a host again after a lost link; says what is worth retrying."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count

from tenacity import (
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from deploykit.errors import ConnectFailed, LinkLost
from deploykit.transport.base import Completed, Files, Held, Transport

__all__ = ["RetryingTransport"]

ATTEMPTS = 4
WAIT = wait_exponential(multiplier=0.3, max=5.0) + wait_random(0.0, 0.3)


class RetryingTransport:
    """
    A transport that opens itself, and opens itself again when the link was lost.

    Only what may be asked twice goes through it: queries, and runner calls, which the host answers
    from their receipts. Files are not retried here; an upload that is repeated skips what is there.
    """

    def __init__(self, connect: Callable[[], Transport]) -> None:
        self._connect = connect
        self._open: Transport | None = None
        self._lock = threading.Lock()

    def open(self) -> Transport:
        """Return the open connection, making it if there is none."""
        with self._lock:
            if self._open is None:
                dropped = Retrying(
                    retry=retry_if_exception(_dropped),
                    stop=stop_after_attempt(ATTEMPTS),
                    wait=WAIT,
                    reraise=True,
                )
                self._open = dropped(self._connect)
            return self._open

    def execute(
        self,
        command: str,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
        before_retry: Callable[[], None] | None = None,
    ) -> Completed:
        """See `Transport`; *before_retry* is called where output will come from its beginning."""
        attempts = count()

        def attempt() -> Completed:
            if next(attempts) and before_retry:
                before_retry()
            transport = self.open()
            try:
                return transport.execute(command, stdin, timeout=timeout, on_output=on_output)
            except LinkLost:
                self._forget(transport)
                raise

        again = Retrying(
            retry=retry_if_exception_type(LinkLost),
            stop=stop_after_attempt(ATTEMPTS),
            wait=WAIT,
            reraise=True,
        )
        return again(attempt)

    def hold(self, command: str) -> Held:
        """See `Transport`."""
        transport = self.open()
        try:
            return transport.hold(command)
        except LinkLost:
            self._forget(transport)
            raise

    def files(self) -> Files:
        """See `Transport`."""
        transport = self.open()
        try:
            return transport.files()
        except LinkLost:
            self._forget(transport)
            raise

    def close(self) -> None:
        """See `Transport`."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def reopen(self) -> None:
        """Drop the connection, so that the next call makes a new one."""
        self.close()

    def _forget(self, transport: Transport) -> None:
        with self._lock:
            if self._open is transport:
                transport.close()
                self._open = None


def _dropped(error: BaseException) -> bool:
    """Return whether a server was there and hung up, as sshd does past MaxStartups."""
    cause = error.__cause__
    return isinstance(error, ConnectFailed) and (
        isinstance(cause, ConnectionResetError | EOFError) or "banner" in str(cause)
    )
