"""A controller's heartbeat: the time of a file, on a channel that no upload holds up."""

from __future__ import annotations

import io
from contextlib import suppress

from deploykit.engine.sftp_only import lock
from deploykit.errors import Fenced, LinkLost, TransferFailed
from deploykit.files import Files
from deploykit.layout import Layout
from deploykit.transport.retrying import RetryingTransport

__all__ = ["Beating"]


class Beating:
    """
    Stands for the controller; see `Held`.

    Args:
        transport: to the host.
        layout: of the pipeline there.
        epoch: of the controller; with another one its heart stops.
        host: its label.
    """

    def __init__(self, transport: RetryingTransport, layout: Layout, epoch: int, host: str) -> None:
        self._transport = transport
        self._layout = layout
        self._epoch = epoch
        self._host = host
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
                lock.fence(self._files, self._layout, self._epoch, self._host)
                heartbeat = f"{self._layout.private}/lock/heartbeat"
                self._files.write(io.BytesIO(b"."), heartbeat, 0o600)
        except LinkLost:
            self._files = None
            raise

    def close(self) -> None:
        """See `Held`."""
        self._closed = True
