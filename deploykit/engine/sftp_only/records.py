"""Records at the end of a file, each once, whatever becomes of the link meanwhile."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deploykit.engine import journal
from deploykit.engine.session import json_line
from deploykit.files import Files
from deploykit.transport.base import Transport
from deploykit.transport.retrying import RetryingTransport

__all__ = ["Records"]


class Records:
    """
    Files of records on a host, which whoever holds the lock appends to.

    Args:
        transport: to the host.
    """

    def __init__(self, transport: RetryingTransport) -> None:
        self._transport = transport
        self._seq: dict[str, int] = {}  # of the last record, in files that we have written to

    def append(
        self,
        path: str,
        records: Sequence[Mapping[str, Any]],
        fence: Callable[[Files], None],
    ) -> None:
        """
        Append *records* to *path*, numbered, and with the time of this machine.

        What a link that was lost in the middle has left is gone on with where it ends. A torn last
        line of somebody else is ended before.

        Args:
            path: absolute.
            records: without version, number and time.
            fence: called before each attempt; may raise to stop.

        Raises:
            TransferFailed: they cannot be written.
        """
        seq = self._seq.pop(path, None)  # what is being written nobody knows until it is answered
        text = b"" if seq is None else _lines(seq, records)

        def attempt(there: Transport) -> None:
            nonlocal seq, text
            files = there.files()
            fence(files)
            left = text
            if seq is None:
                now = _read(files, path)
                arrived = _arrived(now, text)
                if not arrived:
                    torn = b"\n" if now and not now.endswith(b"\n") else b""
                    text = torn + _lines(_last(now), records)
                left = text[arrived:]
            seq = None  # if the link is lost now, nobody knows how much of it has arrived
            files.append(path, left, 0o600)

        self._transport.insist(attempt)
        self._seq[path] = _last(text)


def _read(files: Files, path: str) -> bytes:
    """Return what is in *path*, and make its folder if it is not there."""
    found = files.read([path]).get(path)
    if found is None:
        files.mkdirs([(posixpath.dirname(path), 0o700)])
    return found or b""


def _arrived(there: bytes, text: bytes) -> int:
    """Return how many bytes of *text* are at the end of what is *there*; its numbers are new."""
    return next(size for size in range(len(text), -1, -1) if there.endswith(text[:size]))


def _last(text: bytes) -> int:
    """Return the number of the last record in *text*; 0 if there is none."""
    return max(
        (int(r.get("seq", 0)) for r in journal.parse(text.decode(errors="replace"))), default=0
    )


def _lines(seq: int, records: Sequence[Mapping[str, Any]]) -> bytes:
    """Return *records* as they follow the one of number *seq*."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return "".join(
        json_line({"v": 1, "seq": number, "at": at, **record}) + "\n"
        for number, record in enumerate(records, start=seq + 1)
    ).encode()
