"""
One SFTP conversation, with as much under way as the server and our memory allow.

While one task waits for an answer, the others go on asking, all of them in one thread.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from deploykit.transport.sftp import requests
from deploykit.transport.sftp.packets import (
    VERSION,
    Code,
    Data,
    ProtocolError,
    Reply,
    Request,
    Status,
    Version,
)
from deploykit.transport.sftp.reading import Packets, hello, reply, version
from deploykit.transport.sftp.tasks import Ahead, Refused, Task, Together, ask

__all__ = ["Conversation", "Stream"]

T = TypeVar("T")

WINDOW = 4 << 20  # bytes of requests and answers under way; 150 ms carry 200 Mbit/s with that
REQUESTS = 4096  # requests under way
HANDLES = 64  # open files that are dared of a server which names no limit; of others, most of it
PIECE = 1 << 15  # bytes of a file in one request, where the server names no limit; section 3
BATCH = 1 << 16  # bytes that are sent at once: small requests share packets of the channel


class Stream(Protocol):
    """What the conversation goes over."""

    def sendall(self, data: bytes) -> object:
        """Send all of *data*."""

    def recv(self, size: int) -> bytes:
        """Wait for up to *size* bytes, and return them; nothing when the other side has ended."""


@dataclass(eq=False)
class _Run(Generic[T]):
    """
    A task under way.

    Args:
        task: what it is.
        answer: what it is sent next.
        together: what it is sent once `waits` is zero, where it asked for several things.
        waits: how many answers it waits for.
        ahead: answers that come still, and that it does not wait for.
        refused: the first of those that was a refusal.
        settling: it waits for all of those.
        ended: it yields nothing more.
        result: what it has returned.
        error: what it has raised.
    """

    task: Task[T]
    answer: Reply | Refused | list[Reply | Refused] | None = None
    together: list[Reply | Refused] | None = None
    waits: int = 0
    ahead: int = 0
    refused: Refused | None = None
    settling: bool = False
    ended: bool = False
    result: T | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class _Asked:
    """
    A request under way.

    Args:
        request: what is asked.
        run: whose it is.
        size: bytes of it and of its answer.
        place: of its answer among those that are waited for; None if it is not.
    """

    request: Request
    run: _Run[Any]
    size: int
    place: int | None


class Conversation:
    """
    Speaks with an SFTP server over *stream*; for one thread at a time.

    Args:
        stream: on which an SFTP server listens, and nobody has said anything yet.
        window: bytes of requests, and of answers to them, that may be under way.

    Raises:
        ProtocolError: the other side is no SFTP server of version 3.
        EOFError: the other side has ended.
    """

    def __init__(self, stream: Stream, window: int = WINDOW) -> None:
        self._stream = stream
        self._window = window
        self._packets = Packets()
        self._arrived: deque[bytes] = deque()
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self._under_way = 0
        self._out = bytearray()
        stream.sendall(hello())
        self._version: Version = version(self._receive())
        if self._version.number != VERSION:
            raise ProtocolError(f"SFTP of version {self._version.number}, and not {VERSION}")
        self.piece = self.read_piece = PIECE
        self._handles = HANDLES
        if self.offers(requests.LIMITS):
            with suppress(Refused):  # then it is as if they had not been offered
                self._learn(self.do(ask(requests.limits())).body)

    def offers(self, extension: str) -> bool:
        """Return whether the server has an extension, of whatever version."""
        return extension in self._version.extensions

    def do(self, task: Task[T]) -> T:
        """
        Carry out one task, and return what it returns.

        Raises:
            Refused: the server refused something, and the task did not mind.
        """
        return next(self.all([task]))

    def all(self, tasks: Iterable[Task[T]], handles: int = 1) -> Iterator[T]:
        """
        Carry out *tasks*, many at once, and yield what each returns, as they end.

        Args:
            tasks: asked for as there is room for more.
            handles: how many things each has open at once, at most.

        Raises:
            Refused: of the first that does not mind it. The others end where they are.
        """
        new = iter(tasks)
        many = max(1, self._handles // handles) if handles else REQUESTS
        runs: set[_Run[T]] = set()
        ready: deque[_Run[T]] = deque()
        try:
            while True:
                if not ready and self._has_room() and len(runs) < many:
                    ready += [_Run(task) for task in islice(new, 1)]
                    runs.update(ready)
                if ready and (self._has_room() or isinstance(ready[0].answer, Refused)):
                    run = ready.popleft()
                    if self._step(run):
                        ready.appendleft(run)  # one file after the other, where all is sent ahead
                elif runs:
                    run, goes_on = self._take_answer()
                    if run in runs and goes_on:
                        ready.append(run)
                else:
                    return
                if run.ended and not run.ahead and run in runs:
                    runs.remove(run)
                    yield _returned(run)
        finally:
            for run in runs:
                run.task.close()
                run.ended = True

    def _has_room(self) -> bool:
        return self._under_way < self._window and len(self._asked) < REQUESTS

    def _step(self, run: _Run[Any]) -> bool:
        """Have *run* ask the next thing; return whether it can go on at once."""
        answer, run.answer = run.refused or run.answer, None
        try:
            if isinstance(answer, Refused):
                run.refused = None
                wanted = run.task.throw(answer)
            else:
                wanted = run.task.send(answer)
        except StopIteration as stop:
            run.ended, run.result = True, stop.value
            return False
        except Exception as error:  # noqa: BLE001 - it is raised where the task's end is looked at
            run.ended, run.error = True, error
            return False
        match wanted:
            case Ahead():
                run.ahead += 1
                self._ask(wanted.request, run, None)
                return True
            case Together():
                run.together, run.waits = [Data(b"")] * len(wanted.requests), len(wanted.requests)
                for place, request in enumerate(wanted.requests):
                    self._ask(request, run, place)
                return False
            case Request():
                run.waits = 1
                self._ask(wanted, run, 0)
                return False
            case _:
                run.settling = run.ahead > 0
                return not run.settling

    def _ask(self, request: Request, run: _Run[Any], place: int | None) -> None:
        self._number = (self._number + 1) & 0xFFFFFFFF
        packet = request.packet(self._number)
        size = len(packet) + request.awaits
        self._asked[self._number] = _Asked(request, run, size, place)
        self._under_way += size
        self._out += packet
        if len(self._out) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        data, self._out = bytes(self._out), bytearray()
        if data:
            self._stream.sendall(data)

    def _take_answer(self) -> tuple[_Run[Any], bool]:
        """Wait for an answer; return whose it is, and whether he goes on with it."""
        number, answer = reply(self._receive())
        asked = self._asked.pop(number, None)
        if asked is None:
            raise ProtocolError(f"an answer to request {number}, which is not under way")
        self._under_way -= asked.size
        found = _judged(asked.request, answer)
        run = asked.run
        if asked.place is None:
            run.ahead -= 1
            if isinstance(found, Refused):
                run.refused = run.refused or found
            goes_on = run.settling and not run.ahead
            run.settling = run.settling and not goes_on
            return run, goes_on
        run.waits -= 1
        if run.together is None:
            run.answer = found
        else:
            run.together[asked.place] = found
            if not run.waits:
                run.answer, run.together = run.together, None
        return run, not run.waits

    def _receive(self) -> bytes:
        """Return the next packet."""
        while not self._arrived:
            self._flush()
            data = self._stream.recv(BATCH)
            if not data:
                raise EOFError("the SFTP server has ended")
            self._arrived += self._packets.feed(data)
        return self._arrived.popleft()

    def _learn(self, limits: bytes) -> None:
        """Keep to what the server allows; PROTOCOL 4.8. Zero is no limit that it knows."""
        if len(limits) < 32:
            raise ProtocolError("an answer without limits")
        _, read, write, handles = struct.unpack_from(">QQQQ", limits)
        self.piece = min(PIECE, write or PIECE)
        self.read_piece = min(PIECE, read or PIECE)
        self._handles = handles * 3 // 4 or HANDLES


def _judged(request: Request, answer: Reply) -> Reply | Refused:
    """Return what *answer* means to who asked."""
    if isinstance(answer, Status) and not answer.ok:
        if request.at_end is not None and answer.code == Code.EOF:
            return request.at_end
        return Refused(request, answer)
    if not isinstance(answer, request.answer):
        kind = type(answer).__name__.lower()
        raise ProtocolError(f"{kind} as the answer to {request.kind.name}")
    return answer


def _returned(run: _Run[T]) -> T:
    error = run.error or run.refused
    if error:
        raise error
    return run.result  # type: ignore[return-value]  # it has ended, and this is what it returned
