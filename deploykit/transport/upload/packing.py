"""
An archive, compressed where that is faster than the link.

What is compressed is cut into chunks, each of which is packed by itself, compressed or merely
stored: what pays is measured while it is sent. On a link that is faster than any compressor even
unpacking what is stored costs more than sending it; there the archive goes as it is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from deploykit.transport.upload.archive import Sized, archived
from deploykit.transport.upload.packers import THREADS, Member, Packer

__all__ = ["CHUNK", "WINDOW", "Pace", "packed", "streams"]

CHUNK = 1 << 17  # bytes of an archive that is not compressed, sent at once
PROBE = 16  # chunks, of which one is compressed to see what that would do now
# OpenSSH takes so many bytes before it has to answer (CHAN_SES_WINDOW_DEFAULT of its channels.h):
# no more can go over a link in one round trip, and the first ones say nothing of its speed. Nor do
# those that find the window open because compressing them took longer than sending them.
WINDOW = 2 << 20
LOOK = 4 << 20  # bytes over which a link's speed is averaged


class Pace:
    """
    What a link and a compressor are worth, in seconds a byte.

    Sending takes *link*. Compressing takes *cost* and leaves *ratio* of a byte, while what came
    before is being sent, so that it pays where `max(cost, ratio * link) < link`.

    Args:
        trip: seconds until a request is answered.
        cost: seconds in which a thread compresses a byte, until that is measured.
    """

    def __init__(self, trip: float, cost: float) -> None:
        self._least = trip / WINDOW
        self.link = self._least
        self._cost, self._ratio = cost / THREADS, 0.0
        self.plain = self.link < self._cost
        self.begin()

    @property
    def pays(self) -> bool:
        """Return whether compressing has paid for what was compressed last."""
        return max(self._cost, self._ratio * self.link) < self.link

    def begin(self) -> None:
        """Take it that an archive begins, by a program that is yet to start on the host."""
        self._sent = self._size = 0
        self._seconds = 0.0

    def compressed(self, size: int, left: int, seconds: float) -> None:
        """Take it that *size* bytes became *left* in so many *seconds* of a processor."""
        self._cost, self._ratio = seconds / size / THREADS, left / size

    def sent(self, size: int, seconds: float) -> None:
        """Take it that *size* bytes went off in so many *seconds*."""
        self._sent += size
        if self._sent <= 2 * WINDOW:  # the first one is taken at once, and then nothing for a while
            return
        self._size, self._seconds = self._size + size, self._seconds + seconds
        if self._size < LOOK:
            return
        self.link = max(self._seconds / self._size, self._least)
        self._size, self._seconds = 0, 0.0
        # Each change costs a round trip: none for a link that is about as fast as a compressor.
        self.plain = self.link < self._cost * (4 if self.plain else 1)


def streams(
    files: Iterable[Sized], pace: Pace, packer: Packer
) -> Iterator[tuple[bool, Iterator[bytes]]]:
    """
    Give archives, each with whether *packer* has packed it, until all *files* are sent.

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
        pace.begin()
        archive = archived(members(first, plain))
        if plain:
            yield False, _timed(_chunks(archive, CHUNK), pace)
        else:
            yield True, packed(archive, pace, packer)


def packed(
    pieces: Iterable[bytes],
    pace: Pace,
    packer: Packer,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """
    Give *pieces* packed, each chunk compressed if that was the faster way to send the last ones.

    Args:
        pieces: what is to be sent.
        pace: what is known of the link; told more.
        packer: called in threads.
        clock: seconds; a chunk is being sent until the next one is asked for.
    """

    def members(pool: ThreadPoolExecutor) -> Iterator[bytes]:
        coming: deque[Future[Member]] = deque()
        for number, chunk in enumerate(_chunks(pieces, packer.chunk)):
            coming.append(pool.submit(packer.pack, chunk, number % PROBE == 0 or pace.pays))
            if len(coming) > THREADS:
                yield taken(coming.popleft())
        while coming:
            yield taken(coming.popleft())

    def taken(future: Future[Member]) -> bytes:
        member = future.result()
        if member.deflated:
            pace.compressed(member.size, len(member.data), member.seconds)
        return member.data

    with ThreadPoolExecutor(THREADS, "pack") as pool:
        yield from _timed(members(pool), pace, clock)


def _timed(
    pieces: Iterable[bytes], pace: Pace, clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    for piece in pieces:
        began = clock()
        yield piece
        pace.sent(len(piece), clock() - began)


def _chunks(pieces: Iterable[bytes], least: int) -> Iterator[bytes]:
    """Join *pieces* to *least* bytes each, or little more: none of them is large."""
    chunk: list[bytes] = []
    size = 0
    for piece in pieces:
        chunk.append(piece)
        size += len(piece)
        if size >= least:
            yield b"".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield b"".join(chunk)
