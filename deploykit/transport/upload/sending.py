"""Files on their way: read while they are sent, and how far that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from deploykit.errors import TransferFailed
from deploykit.files import File
from deploykit.release import Entry

__all__ = ["LOSSES", "Progress", "changed", "to_send"]

LOSSES = 4  # of the link, one after the other, without a file that arrived in between
EVERY = 0.5  # seconds between two progress events


class Progress:
    """Counts bytes and files, and tells of them now and then."""

    def __init__(self, tell: Callable[..., None], check: Callable[[], None]) -> None:
        self._tell, self._check = tell, check
        self._total = self._of = self._done = self._files = 0
        self._began = self._told = time.monotonic()

    def expect(self, files: Sequence[Entry]) -> None:
        """Count *files* as to be sent."""
        self._total += sum(entry.size for entry in files)
        self._of += len(files)

    def sent(self, size: int) -> None:
        """Count *size* bytes."""
        self._check()
        self._done += size
        if time.monotonic() - self._told >= EVERY:
            self._say()

    def file(self) -> None:
        """Count a file."""
        self._files += 1

    def end(self) -> None:
        """Tell of the whole."""
        self._say()

    def _say(self) -> None:
        self._told = time.monotonic()
        rate = self._done / max(self._told - self._began, 1e-6)
        self._tell(
            done=self._done, total=self._total, files=self._files, of=self._of, rate=round(rate)
        )


def to_send(local: str, entry: Entry, progress: Progress) -> File:
    """Return *entry* as it is to be written; what is read has its size, or it has changed."""

    def pieces(most: int) -> Iterator[bytes]:
        left = entry.size
        try:
            # A Path takes as long as reading a small file does.
            with open(local, "rb", buffering=0) as stream:  # noqa: PTH123
                while left and (piece := stream.read(min(most, left))):
                    left -= len(piece)
                    progress.sent(len(piece))
                    yield piece
        except OSError as error:
            raise TransferFailed(f"{local} cannot be read: {error.strerror}") from error
        if left:
            raise changed(local)
        progress.file()

    return File(entry.path, entry.mode | 0o600, pieces)


def changed(local: str) -> TransferFailed:
    """Return the error of a file that is not what was packed any more."""
    return TransferFailed(
        f"{local} changed while it was being sent", then="run again when nothing writes to it"
    )
