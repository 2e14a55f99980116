"""A host without a shell as one unit of one run sees it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

from deploykit.command import Result
from deploykit.engine.receipts import UnitHost
from deploykit.engine.sftp_only.session import SftpSession
from deploykit.files import Files
from deploykit.release import Manifest
from deploykit.transport.upload import Earlier
from deploykit.transport.upload.bare import upload

__all__ = ["SftpUnit"]


class SftpUnit(UnitHost):
    """
    A host during one stage's `apply` or `undo`.

    Nothing runs there, so that there are no receipts: what a stage does by files has to be such
    that it may be done again from the top.
    """

    session: SftpSession

    @property
    def sftp(self) -> Files:
        """
        See `Writer.sftp`. Ask for it before each effect: the unit's first is recorded by that.

        Raises:
            Fenced: another controller has taken the run over.
            Interrupted: somebody asked to stop.
        """
        self.interrupts.check()
        if self._began:
            self.session.fence(self.epoch, self.session.files)
        self._begin_files()
        return self.session.files

    def change(self, *_words: Any, **_options: Any) -> Result:
        """Refuse: there is no shell."""
        return self.session.query()

    def put(self, content: bytes, path: str, mode: int = 0o600) -> None:
        """See `Writer.put`."""
        name = hashlib.sha256(path.encode()).hexdigest()[:16]
        part = f"{self.session.layout.run(self.run)}/{name}-{self.epoch}.part"
        self.sftp.write(io.BytesIO(content), part, mode)
        self.sftp.rename(part, path)

    def upload(self, source: Path, manifest: Manifest, folder: str, like: str = "") -> None:
        """See `Writer.upload`."""
        self._begin_files()
        lay = self.session.layout
        upload(
            self.session.transport,
            self.name,
            source,
            manifest,
            folder,
            self.epoch,
            lambda **keys: self.events.tell("upload_progress", **keys),
            self.interrupts.check,
            Earlier(lay.release(like), lay.manifest(like)) if like else None,
        )

    def stop_running(self) -> None:
        """Do nothing: no command runs there."""
