"""Reaches a host again after a lost link; says what is worth retrying."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from deploykit.errors import AuthenticationFailed, ConnectFailed, LinkLost, TransportError
from deploykit.files import Files
from deploykit.transport.base import Completed, Held, Transport

__all__ = ["RECONNECT_FOR", "RetryingTransport"]

T = TypeVar("T")
ATTEMPTS = 4  # at the first connection, where a server is there and hangs up
RECONNECT_FOR = 60.0  # seconds after which a lost link is given up
WAIT = wait_exponential(multiplier=0.3, max=5.0) + wait_random(0.0, 0.3)


class RetryingTransport:
    """
    A transport that opens itself, and opens itself again when the link was lost.

    Only what may be asked twice goes through it: queries, and runner calls, which the host answers
    from their receipts. Files are not retried here; an upload that is repeated skips what is there.

    Args:
        connect: opens a connection.
        tell: told `link_lost`, with the error, and `link_restored`.
        give_up: asked while the link is lost; as soon as it says yes, nothing more is tried.
    """

    def __init__(
        self,
        connect: Callable[[], Transport],
        tell: Callable[..., None] = lambda _event, **_keys: None,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._connect = connect
        self._tell = tell
        self._give_up = give_up
        self._open: Transport | None = None
        self._lost = False
        self._lost_at: float | None = None  # when first, since anything was answered
        self._closed = False
        self._lock = threading.Lock()

    def open(self) -> Transport:
        """
        Return the open connection, making it if there is none.

        Raises:
            LinkLost: there was one, it was lost, and the host cannot be reached just now.
            ConnectFailed: the host cannot be reached; as the other errors of connecting.
        """
        with self._lock:
            if self._open is not None:
                return self._open
            restored = self._lost
            self._open = transport = self._reconnected() if restored else self._first()
            self._lost = False
        if self._closed:
            transport.close()
        elif restored:
            self._tell("link_restored")
        return transport

    def execute(
        self,
        command: str,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `Transport`; what is repeated after a lost link is not passed on again."""
        heard = _Once(on_output) if on_output else None

        def attempt(transport: Transport) -> Completed:
            if heard:
                heard.begin()
            return transport.execute(command, stdin, timeout=timeout, on_output=heard)

        return self.insist(attempt)

    def feed(self, command: str, pieces: Iterable[bytes]) -> Completed:
        """See `Transport`; nothing is tried again, for what was made is gone."""
        return self.once(lambda transport: transport.feed(command, pieces))

    def hold(self, command: str) -> Held:
        """See `Transport`; it is begun anew at the next beat after the link was lost."""
        return _Standing(self, command)

    def files(self, *, apart: bool = False) -> Files:
        """See `Transport`."""
        return self.insist(lambda transport: transport.files(apart=apart))

    def close(self) -> None:
        """See `Transport`; a connection that is being made meanwhile is closed, too."""
        self._closed = True
        if (transport := self._open) is not None:
            transport.close()

    def insist(self, work: Callable[[Transport], T]) -> T:
        """
        Do *work*, which may be done twice, and again for as long as the link's loss is borne.

        Raises:
            LinkLost: the link was lost, and did not come back in time.
        """
        patience = _Patience(lambda: self._closed or self._give_up(), lambda: self._lost_at)

        def attempt() -> T:
            self.open()
            patience.begin()
            return self.once(work)

        again = Retrying(
            retry=retry_if_exception_type(LinkLost),
            stop=patience.is_over,
            wait=WAIT,
            sleep=patience.sleep,
            reraise=True,
        )
        return again(attempt)

    def once(self, work: Callable[[Transport], T]) -> T:
        """
        Do *work*, with one attempt at connecting if there is no link.

        Raises:
            LinkLost: there was none, or it was lost.
        """
        transport = self.open()
        try:
            done = work(transport)
        except LinkLost as error:
            self._forget(transport, error)
            raise
        self._lost_at = None
        return done

    def _first(self) -> Transport:
        hung_up = Retrying(
            retry=retry_if_exception(_hung_up),
            stop=stop_after_attempt(ATTEMPTS),
            wait=WAIT,
            reraise=True,
        )
        return hung_up(self._connect)

    def _reconnected(self) -> Transport:
        try:
            return self._connect()
        except (ConnectFailed, AuthenticationFailed) as error:
            # A server that is starting or stopping hangs up on us in the middle of logging in.
            if isinstance(error, AuthenticationFailed) and not _cut_short(error):
                raise
            raise LinkLost(
                f"the link was lost, and cannot be made again: {error.what}", then=error.then
            ) from error

    def _forget(self, transport: Transport, error: LinkLost) -> None:
        with self._lock:
            if self._open is not transport:
                return  # somebody else has met it before
            transport.close()
            self._open = None
            self._lost = True
            self._lost_at = self._lost_at or time.monotonic()
        self._tell("link_lost", error=error.what)


class _Patience:
    """
    How long a lost link is borne: `RECONNECT_FOR` seconds after its loss, whoever met that first.

    So what comes after a host was given up tries it once only, and does not wait again. A link that
    stood for longer than that counts as another one when it is lost.
    """

    def __init__(self, give_up: Callable[[], bool], lost_at: Callable[[], float | None]) -> None:
        self._give_up = give_up
        self._lost_at = lost_at
        self._stands: float | None = None
        self._until = 0.0

    def begin(self) -> None:
        """Note that the link stands, and an attempt begins."""
        self._stands = time.monotonic()

    def is_over(self, state: RetryCallState) -> bool:
        """Return whether nothing more is to be tried."""
        now = time.monotonic()
        stood = 0.0 if self._stands is None else now - self._stands
        self._stands = None
        if stood > RECONNECT_FOR:
            self._until = now + RECONNECT_FOR
        elif state.attempt_number == 1:
            self._until = (self._lost_at() or now) + RECONNECT_FOR
        return now >= self._until or self._give_up()

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until it is over."""
        end = min(time.monotonic() + seconds, self._until)
        while (left := end - time.monotonic()) > 0 and not self._give_up():
            time.sleep(min(left, 0.1))


class _Standing:
    """What is held on a host for as long as we are there, whatever connections come and go."""

    def __init__(self, transport: RetryingTransport, command: str) -> None:
        self._transport = transport
        self._command = command
        self._held = transport.insist(self._begin)
        self._closed = False

    def beat(self) -> None:
        """See `Held`; it is begun anew where it has ended, with one attempt at connecting."""
        try:
            self._held.beat()
        except LinkLost:
            self._held.close()
            self._held = self._anew()
            if self._closed:
                self._held.close()
            self._held.beat()

    def close(self) -> None:
        """See `Held`."""
        self._closed = True
        self._held.close()

    def _begin(self, transport: Transport) -> Held:
        return transport.hold(self._command)

    def _anew(self) -> Held:
        try:
            return self._transport.once(self._begin)
        except LinkLost:
            pass  # that the old connection is gone may be news, and then there can be a new one
        try:
            return self._transport.once(self._begin)
        except LinkLost:
            raise
        except TransportError as error:
            raise LinkLost(error.what, then=error.then) from error


class _Once:
    """Passes on output that may come several times from its beginning, each byte once."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._passed = 0
        self._known = 0

    def begin(self) -> None:
        """Expect everything from its beginning."""
        self._known = self._passed

    def __call__(self, piece: bytes) -> None:
        """Take *piece*, and pass on what is new of it."""
        new = piece[self._known :]
        self._known -= len(piece) - len(new)
        if new:
            self._passed += len(new)
            self._take(new)


def _hung_up(error: BaseException) -> bool:
    """Return whether a server was there and hung up, as sshd does past MaxStartups."""
    cause = error.__cause__
    return isinstance(error, ConnectFailed) and (
        isinstance(cause, ConnectionResetError | EOFError) or "banner" in str(cause)
    )


def _cut_short(error: AuthenticationFailed) -> bool:
    """Return whether logging in was not refused, but cut off."""
    said = str(error.__cause__)
    return "EOF" in said or "timeout" in said
