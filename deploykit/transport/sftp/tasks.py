"""
What is to be done over SFTP, as values.

A task is a generator that yields requests and is sent the answers, and does no input or output.

    def size(path):
        found = yield requests.lstat(path)
        return found.size

Besides a request, a task may yield

- `Ahead(request)`, whose answer it does not wait for: pieces of a file that is written. Such
  answers are looked at all the same: the first refusal ends the task with `Refused`, at the latest
  when it is over;
- `ANSWERED`, to wait for the answers to all that it sent ahead;
- `Together(requests)`, sent at once, whose answers it is sent as a list, in their order: pieces of
  a file that is read. A refusal stands in its place in that list.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from deploykit.transport.sftp import requests
from deploykit.transport.sftp.packets import Request, Status

__all__ = ["ANSWERED", "Ahead", "Refused", "Task", "Together", "ask", "closing", "using"]

T = TypeVar("T")


class Refused(Exception):
    """
    The server did not do something.

    Args:
        request: what.
        status: its answer.
    """

    def __init__(self, request: Request, status: Status) -> None:
        super().__init__(f"cannot {request.act} {request.about}: {status.message or status.code}")
        self.request = request
        self.status = status


@dataclass(frozen=True)
class Ahead:
    """A request whose answer is not waited for."""

    request: Request


@dataclass(frozen=True)
class Together:
    """Requests, at least one, whose answers are waited for together."""

    requests: tuple[Request, ...]


class _Answered:
    """The type of `ANSWERED`."""


ANSWERED: Final = _Answered()
"""Yielded by a task to wait for the answers to all that it sent ahead."""

Task = Generator[Request | Ahead | Together | _Answered, Any, T]


def ask(request: Request) -> Task[Any]:
    """Ask one thing, and return its answer."""
    return (yield request)


def using(opening: Request, work: Callable[[bytes], Task[T]]) -> Task[T]:
    """
    Open something, do *work* with its handle, and close it, also where a part is refused.

    Args:
        opening: answered by a handle.
        work: is given the handle.

    Raises:
        Refused: something was.
    """
    handle = (yield opening).value
    return (yield from closing(handle, opening, work(handle)))


def closing(handle: bytes, opening: Request, work: Task[T]) -> Task[T]:
    """As `using`, where *opening* has been answered by *handle*."""
    close = Ahead(requests.close(handle, opening.about, opening.act))
    try:
        done = yield from work
    except Refused:
        yield close
        raise
    yield close
    return done
