"""Records at the end of a file, each once, whatever becomes of the link meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deploykit.engine import journal
from deploykit.engine.session import json_line
from deploykit.files import Files
from deploykit.transport.base import Transport
from deploykit.transport.retrying import RetryingTransport

__all__ = ["append"]


def append(
    transport: RetryingTransport,
    path: str,
    records: Sequence[Mapping[str, Any]],
    fence: Callable[[Files], None],
) -> None:
    """
    Append *records* to *path*, numbered, and with the time of this machine.

    What a link that was lost in the middle has left is gone on with where it ends. A torn last line
    of somebody else is ended before.

    Args:
        transport: to the host.
        path: absolute.
        records: without version, number and time.
        fence: called before each attempt; may raise to stop.

    Raises:
        TransferFailed: they cannot be written.
    """
    before: bytes | None = None
    text = b""

    def attempt(there: Transport) -> None:
        nonlocal before, text
        files = there.files()
        fence(files)
        now = files.read([path]).get(path, b"")
        if before is None or not (now.startswith(before) and text.startswith(now[len(before) :])):
            before, text = now, lines(now, records)
        files.append(path, text[len(now) - len(before) :], 0o600)

    transport.insist(attempt)


def lines(there: bytes, records: Sequence[Mapping[str, Any]]) -> bytes:
    """Return *records* as they are to follow *there*."""
    last = max([0, *(int(r.get("seq", 0)) for r in journal.parse(there.decode(errors="replace")))])
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    numbered = (
        json_line({"v": 1, "seq": last + number, "at": at, **record}) + "\n"
        for number, record in enumerate(records, start=1)
    )
    torn = "\n" if there and not there.endswith(b"\n") else ""
    return (torn + "".join(numbered)).encode()
