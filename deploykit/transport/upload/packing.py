"""
An archive, compressed where that is faster than the link.

What is compressed is cut into chunks, and each is a gzip member of its own (RFC 1952 §2.2: members
follow one another, and unpack as one), compressed or merely stored: what pays is measured while it
is sent. On a link that is faster than any compressor even unpacking what is stored costs more than
sending it; there the archive goes as it is.
"""

from __future__ import annotations

import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from deploykit.transport.upload.archive import Sized, archived

__all__ = ["CHUNK", "WINDOW", "Member", "Pace", "compress", "packed", "streams"]

CHUNK = 1 << 17  # bytes of the archive that are compressed together: four windows of deflate
LEVEL = 1  # of gzip: what a slow link gains by a higher one, a fast one loses several times
GZIP = 31  # zlib's name for a gzip member with the largest window
PROBE = 16  # chunks, of which one is compressed to see what that would do now
THREADS = min(2, os.cpu_count() or 1)  # that compress
AGAIN = 64  # chunks that one of several hosts may be ahead of the next, which gets the same ones
# OpenSSH takes so many bytes before it has to answer (CHAN_SES_WINDOW_DEFAULT of its channels.h):
# no more can go over a link in one round trip, and the first ones say nothing of its speed. Nor do
# those that find the window open because compressing them took longer than sending them.
WINDOW = 2 << 20
LOOK = 4 << 20  # bytes over which a link's speed is averaged
COST = 1 / 80e6 / THREADS  # seconds in which zlib compresses a byte, until that is measured


class Pace:
    """
    What a link and a compressor are worth, in seconds a byte.

    Sending takes *link*. Compressing takes *cost* and leaves *ratio* of a byte, while what came
    before is being sent, so that it pays where `max(cost, ratio * link) < link`.

    Args:
        trip: seconds until a request is answered.
    """

    def __init__(self, trip: float) -> None:
        self._least = trip / WINDOW
        self.link = self._least
        self.plain = self.link < COST
        self._cost, self._ratio = COST, 0.0
        self._sent = self._size = 0
        self._seconds = 0.0

    @property
    def pays(self) -> bool:
        """Return whether compressing has paid for what was compressed last."""
        return max(self._cost, self._ratio * self.link) < self.link

    def compressed(self, size: int, left: int, seconds: float) -> None:
        """Take it that *size* bytes became *left* in so many *seconds*."""
        self._cost, self._ratio = seconds / size / THREADS, left / size

    def sent(self, size: int, seconds: float) -> None:
        """Take it that *size* bytes went off in so many *seconds*."""
        self._sent += size
        if self._sent <= WINDOW:
            return
        self._size, self._seconds = self._size + size, self._seconds + seconds
        if self._size < LOOK:
            return
        self.link = max(self._seconds / self._size, self._least)
        self._size, self._seconds = 0, 0.0
        # Each change costs a round trip: none for a link that is about as fast as a compressor.
        self.plain = self.link < self._cost * (3 if self.plain else 1)


@dataclass(frozen=True)
class Member:
    """
    A gzip member.

    Args:
        data: it.
        size: bytes that were packed into it.
        seconds: of a processor that this took.
        deflated: it is not merely stored.
    """

    data: bytes
    size: int
    seconds: float
    deflated: bool


def streams(files: Iterable[Sized], pace: Pace) -> Iterator[tuple[bool, Iterator[bytes]]]:
    """
    Give archives, each with whether it is compressed, until all *files* are sent.

    The next one begins where it is better to do it the other way. Each is to be sent before the
    next is asked for.
    """
    left = iter(files)

    def members(first: Sized, plain: bool) -> Iterator[Sized]:
        member: Sized | None = first
        while member:
            yield member
            member = next(left, None) if pace.plain == plain else None

    while first := next(left, None):
        plain = pace.plain
        archive = archived(members(first, plain))
        yield not plain, _timed(_chunks(archive), pace) if plain else packed(archive, pace)


@lru_cache(AGAIN)
def compress(chunk: bytes, deflated: bool) -> Member:
    """Return *chunk* as a gzip member; what has just gone to another host is remembered."""
    began = time.thread_time()
    packer = zlib.compressobj(LEVEL if deflated else 0, zlib.DEFLATED, GZIP)
    data = packer.compress(chunk) + packer.flush()
    return Member(data, len(chunk), time.thread_time() - began, deflated)


def packed(
    pieces: Iterable[bytes],
    pace: Pace,
    by: Callable[[bytes, bool], Member] = compress,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """
    Give *pieces* as gzip members, each compressed if that was the faster way to send the last ones.

    Args:
        pieces: what is to be sent.
        pace: what is known of the link; told more.
        by: called in threads.
        clock: seconds; a member is being sent until the next one is asked for.
    """

    def members(pool: ThreadPoolExecutor) -> Iterator[bytes]:
        coming: deque[Future[Member]] = deque()
        for number, chunk in enumerate(_chunks(pieces)):
            coming.append(pool.submit(by, chunk, number % PROBE == 0 or pace.pays))
            if len(coming) > THREADS:
                yield taken(coming.popleft())
        while coming:
            yield taken(coming.popleft())

    def taken(future: Future[Member]) -> bytes:
        member = future.result()
        if member.deflated:
            pace.compressed(member.size, len(member.data), member.seconds)
        return member.data

    with ThreadPoolExecutor(THREADS, "gzip") as pool:
        yield from _timed(members(pool), pace, clock)


def _timed(
    pieces: Iterable[bytes], pace: Pace, clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    for piece in pieces:
        began = clock()
        yield piece
        pace.sent(len(piece), clock() - began)


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join *pieces* to about `CHUNK` bytes each; none of them is much larger than that."""
    chunk: list[bytes] = []
    size = 0
    for piece in pieces:
        chunk.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield b"".join(chunk)
