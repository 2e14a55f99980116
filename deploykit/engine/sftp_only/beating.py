"""A controller's heartbeat: the time of a file, on a channel that no upload holds up."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress

from deploykit.errors import Fenced, LinkLost, TransferFailed
from deploykit.files import Files
from deploykit.transport.retrying import RetryingTransport

__all__ = ["Beating"]


class Beating:
    """
    Stands for the controller; see `Held`.

    Args:
        transport: to the host.
        heartbeat: the file's path.
        fence: raises once the controller is another one: then its heart stops.
    """

    def __init__(
        self, transport: RetryingTransport, heartbeat: str, fence: Callable[[Files], None]
    ) -> None:
        self._transport = transport
        self._heartbeat = heartbeat
        self._fence = fence
        self._files: Files | None = transport.insist(lambda there: there.files(apart=True))
        self._closed = False

    def beat(self) -> None:
        """See `Held`; after a lost link it is begun anew, with one attempt at connecting."""
        if self._closed:
            return
        if self._files is None:
            self._files = self._transport.once(lambda there: there.files(apart=True))
        try:
            # Its folder's absence says that the lock is free, and an epoch that it is another's.
            with suppress(Fenced, TransferFailed):
                self._fence(self._files)
                self._files.write(io.BytesIO(b"."), self._heartbeat, 0o600)
        except LinkLost:
            self._files = None
            raise

    def close(self) -> None:
        """See `Held`."""
        self._closed = True
