"""The upload: every entry of a manifest into a folder that does not count until it is verified."""

from __future__ import annotations

import hashlib
import os
import posixpath
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploykit.errors import LinkLost, TransferFailed
from deploykit.files import File
from deploykit.release import Entry, Manifest
from deploykit.shell import fill
from deploykit.transport.upload.archive import Sized
from deploykit.transport.upload.finishing import finish
from deploykit.transport.upload.packers import Packer, chosen
from deploykit.transport.upload.packing import Pace, streams
from deploykit.transport.upload.present import (
    WITHIN,
    Copies,
    Earlier,
    Found,
    Place,
    copies,
    look,
)
from deploykit.transport.upload.sending import LOSSES, Progress, changed, to_send
from deploykit.transport.upload.unpacking import unpacking, verified

__all__ = ["upload"]


def upload(
    place: Place,
    source: Path,
    manifest: Manifest,
    folder: str,
    epoch: int,
    tell: Callable[..., None],
    check: Callable[[], None],
    earlier: Earlier | None = None,
) -> None:
    """
    Bring *source* into *folder*`.`*epoch*, and send only what is not on the host.

    Each controller of a run fills a folder of its own: one that was fenced may still write. What
    an earlier one brought is copied, never moved or linked, for the same reason; so is what an
    earlier release has, and all copies are compared with the manifest. That is kept beside the
    folder, in *folder*`.`*epoch*`.json`.

    Args:
        place: the host.
        source: local folder.
        manifest: what to bring.
        folder: absolute path on the host; what contains it exists.
        epoch: of the controller.
        tell: told `done`, `total` (bytes), `files` and `of` about twice a second.
        check: called between pieces; may raise to stop.
        earlier: a release on the host that may have some of it.

    Raises:
        TransferFailed: a file cannot be read or written, or changed since it was packed.
        LinkLost: the connection ended, and did not come back or ended again and again.
    """
    final = f"{folder}.{epoch}"
    losses = whole = number = 0
    while True:
        asked = time.monotonic()
        found = look(place, folder, manifest, earlier)  # this waits for a link that was lost
        took = time.monotonic() - asked
        # A look is one round trip, unless it had to connect, or to read what is there.
        trip = _trip(place) if losses or found.there else took
        losses, whole = (0 if len(found.there) > whole else losses), len(found.there)
        # Whatever received the last try may still write, hours after a link was lost in silence.
        own = f"{final}-{number}" if number else final
        work = _Work(place, source, manifest, own, tell, check)
        try:
            return work.bring(found, earlier, final, trip)
        except LinkLost:
            losses, number = losses + 1, number + 1
            if losses == LOSSES:
                raise


def _trip(place: Place) -> float:
    """Return the seconds in which a host answers."""
    asked = time.monotonic()
    place.query(":")
    return time.monotonic() - asked


@dataclass(frozen=True)
class _Work:
    """One try of an upload; see `upload`."""

    place: Place
    source: Path
    manifest: Manifest
    folder: str
    tell: Callable[..., None]
    check: Callable[[], None]

    def bring(self, found: Found, earlier: Earlier | None, final: str, trip: float) -> None:
        """
        Send what is not on the host already, have the rest copied there, and name it *final*.

        Args:
            found: what the host has.
            earlier: a release on it.
            final: absolute path on it.
            trip: seconds in which it answers.

        Raises:
            TransferFailed: a file there is not what was sent.
        """
        files = self.manifest.files
        own = posixpath.basename(self.folder)
        absent = [e for e in files if found.there.get(f"{own}/{e.path}") != e.sha256]
        known = copies(
            absent, self.folder, found.there, (earlier.folder if earlier else "", found.earlier)
        )
        there = known.paths
        missing = [entry for entry in absent if entry.path not in there]
        progress = Progress(self.tell, self.check)
        packer = chosen(found.unpacks)
        way = (packer, Pace(trip, packer.cost)) if packer else None
        sent: set[Entry] = set()
        while True:
            whole = self._send(missing, progress, way)
            sent.update(missing)
            like = earlier.manifest if earlier and found.same else ""
            wrong = finish(self.place, self.folder, final, self.manifest, known, like, whole)
            if not wrong:
                return progress.end()
            missing = [entry for entry in files if entry.path in wrong]
            for entry in missing:
                if entry in sent:
                    raise self._not_sent(entry)
            self._remove(missing)
            known = Copies({}, {})

    def _send(
        self, files: Sequence[Entry], progress: Progress, way: tuple[Packer, Pace] | None
    ) -> frozenset[str]:
        """Send *files*; return those of which it is known already that they have arrived whole."""
        if not files:
            return frozenset()
        progress.expect(files)
        reading = (to_send(f"{self.source}/{e.path}", e, progress) for e in files)
        if way:
            said = self._send_streams(zip(files, reading, strict=True), *way)
            return verified(said, files)
        self._send_files(reading)
        return frozenset()

    def _send_streams(self, files: Iterable[tuple[Entry, File]], packer: Packer, pace: Pace) -> str:
        """
        Send *files* as archives; return what the host has said of them.

        Raises:
            TransferFailed: the host cannot unpack them.
        """
        sized = (self._sized(entry, file) for entry, file in files)
        sums = ""
        for is_packed, pieces in streams(sized, pace, packer):
            command = unpacking(self.folder, packer.unpack if is_packed else "")
            done = self.place.transport.feed(command, pieces)
            if done.exit_code != 0:
                said = done.stderr.decode(errors="replace").strip().split("\n")[0]
                raise TransferFailed(
                    f"{self.place.name}: cannot write {self.folder} (disk full?): {said}"
                )
            sums += done.stdout.decode(errors="replace")
        return sums

    def _sized(self, entry: Entry, file: File) -> Sized:
        local = f"{self.source}/{entry.path}"
        try:
            return Sized(file, entry.size, int(os.lstat(local).st_mtime))
        except OSError as error:
            raise TransferFailed(f"{local} cannot be read: {error.strerror}") from error

    def _send_files(self, files: Iterable[File]) -> None:
        """Send *files* over SFTP."""
        sftp = self.place.transport.files()
        dirs = [entry for entry in self.manifest.entries if entry.kind == "dir"]
        inside = [(f"{self.folder}/{entry.path}", entry.mode | 0o700) for entry in dirs]
        sftp.mkdirs([(self.folder, 0o700), *inside])
        sftp.write_all(
            (replace(file, path=f"{self.folder}/{file.path}") for file in files), lambda _size: None
        )

    def _remove(self, files: Sequence[Entry]) -> None:
        """Remove copies that are not what they were said to be."""
        lines = [fill("cd -- {} && chmod -R u+w . || exit 1", self.folder)]
        lines += [fill("rm -rf -- {}", f"./{entry.path}") for entry in files]
        self.place.query("\n".join(lines), timeout=WITHIN)

    def _not_sent(self, entry: Entry) -> TransferFailed:
        """Return why a file on the host is not the one that was packed."""
        local = f"{self.source}/{entry.path}"
        try:
            with Path(local).open("rb") as stream:
                now = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            return TransferFailed(f"{local} cannot be read: {error.strerror}")
        if now != entry.sha256:
            return changed(local)
        return TransferFailed(
            f"{self.place.name}: {self.folder}/{entry.path} is not what was sent (disk full?)"
        )
