"""The upload: every entry of a manifest into a folder that does not count until it is verified."""

from __future__ import annotations

import hashlib
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploykit.errors import LinkLost, TransferFailed
from deploykit.release import Entry
from deploykit.shell import quote
from deploykit.transport.base import File
from deploykit.transport.sftp.present import Earlier, Place, copied, copies, digests, look

__all__ = ["upload"]

LOSSES = 4  # of the link, one after the other, without a file that arrived in between
EVERY = 0.5  # seconds between two progress events


def upload(
    place: Place,
    source: Path,
    entries: Sequence[Entry],
    folder: str,
    epoch: int,
    tell: Callable[..., None],
    check: Callable[[], None],
    earlier: Earlier | None = None,
) -> None:
    """
    Bring *entries* of *source* into *folder*`.`*epoch*, and send only what is not on the host.

    Each controller of a run fills a folder of its own: one that was fenced may still write. What
    an earlier one brought is copied, never moved or linked, for the same reason; so is what an
    earlier release has, and all copies are compared with the manifest.

    Args:
        place: the host.
        source: local folder.
        entries: what to bring.
        folder: absolute path on the host; what contains it exists.
        epoch: of the controller.
        tell: told `done`, `total` (bytes), `files` and `of` about twice a second.
        check: called between pieces; may raise to stop.
        earlier: a release on the host that may have some of it.

    Raises:
        TransferFailed: a file cannot be read or written, or changed since it was packed.
        LinkLost: the connection ended, and did not come back or ended again and again.
    """
    losses = whole = 0
    while True:
        found = look(place, folder, earlier)  # this waits for a link that was lost
        losses, whole = (0 if len(found[0]) > whole else losses), len(found[0])
        work = _Work(place, source, entries, f"{folder}.{epoch}", tell, check)
        try:
            return work.bring(found[0], (earlier.folder if earlier else "", found[1]))
        except LinkLost:
            losses += 1
            if losses == LOSSES:
                raise


@dataclass(frozen=True)
class _Work:
    """One try of an upload; see `upload`."""

    place: Place
    source: Path
    entries: Sequence[Entry]
    folder: str
    tell: Callable[..., None]
    check: Callable[[], None]

    def bring(self, there: Mapping[str, str], earlier: tuple[str, Sequence[Entry]]) -> None:
        """Copy what is on the host already, send what is not, and verify it."""
        files = self.place.transport.files()
        dirs = [entry for entry in self.entries if entry.kind == "dir"]
        inside = [(f"{self.folder}/{entry.path}", entry.mode | 0o700) for entry in dirs]
        files.mkdirs([(self.folder, 0o755), *inside])
        missing = self._missing(there, earlier)
        progress = _Progress(missing, self.tell, self.check)
        files.write_all(
            (_file(self.source, entry, self.folder, progress) for entry in missing), progress.sent
        )
        links = [entry for entry in self.entries if entry.kind == "link"]
        files.symlinks((entry.target, f"{self.folder}/{entry.path}") for entry in links)
        modes = _modes([entry for entry in self.entries if entry.kind != "link"], self.folder)
        self._verify(missing, modes)
        progress.end()

    def _missing(
        self, there: Mapping[str, str], earlier: tuple[str, Sequence[Entry]]
    ) -> list[Entry]:
        """Have the host copy what it has; return the files that it has not."""
        own = posixpath.basename(self.folder)
        files = [entry for entry in self.entries if entry.kind == "file"]
        missing = [entry for entry in files if there.get(f"{own}/{entry.path}") != entry.sha256]
        known = copies(missing, self.folder, there, earlier)
        if not known:
            return missing
        now = copied(self.place, known, self.folder)
        return [entry for entry in files if now.get(entry.path) != entry.sha256]

    def _verify(self, sent: Sequence[Entry], then: str) -> None:
        """
        Compare what the host holds with what was sent; do the script *then* in the same trip.

        Raises:
            TransferFailed: a file there is another one.
        """
        there = digests(self.place, self.folder, [entry.path for entry in sent], then)
        for entry in sent:
            if there.get(entry.path) != entry.sha256:
                raise TransferFailed(
                    f"{self.place.name}: {self.folder}/{entry.path} is not what was sent "
                    "(disk full?)"
                )


def _file(source: Path, entry: Entry, folder: str, progress: _Progress) -> File:
    """Return *entry* as it is to be written; read, it is compared with the manifest."""
    local = source / entry.path

    def pieces(size: int) -> Iterator[bytes]:
        read = hashlib.sha256()
        try:
            with local.open("rb") as stream:
                while piece := stream.read(size):
                    read.update(piece)
                    yield piece
        except OSError as error:
            raise TransferFailed(f"{local} cannot be read: {error.strerror}") from error
        if read.hexdigest() != entry.sha256:
            raise TransferFailed(
                f"{local} changed while it was being sent",
                then="run again when nothing writes to it",
            )
        progress.file()

    return File(f"{folder}/{entry.path}", entry.mode | 0o600, pieces)


def _modes(entries: Sequence[Entry], folder: str) -> str:
    """Return a script that sets the manifest's modes, whatever the umask was: folders last."""
    modes: dict[int, list[str]] = {}
    for entry in sorted(entries, key=lambda e: (e.kind == "dir", e.path)):
        modes.setdefault(entry.mode, []).append(entry.path)
    script = [f"cd -- {quote(folder)}"]
    for mode, paths in modes.items():
        for at in range(0, len(paths), 200):
            words = " ".join(quote(f"./{path}") for path in paths[at : at + 200])
            script.append(f"chmod {mode:o} -- {words}")
    return " && ".join(script)


class _Progress:
    """Counts bytes and files, and tells of them now and then."""

    def __init__(
        self, files: Sequence[Entry], tell: Callable[..., None], check: Callable[[], None]
    ) -> None:
        self._total, self._of = sum(entry.size for entry in files), len(files)
        self._tell, self._check = tell, check
        self._done = self._files = 0
        self._began = self._told = time.monotonic()

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
