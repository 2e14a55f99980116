"""The upload: every entry of a manifest into a folder that does not count until it is verified."""

from __future__ import annotations

import hashlib
import posixpath
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from deploykit.errors import LinkLost, TransferFailed
from deploykit.release import Entry
from deploykit.shell import fill, quote
from deploykit.transport.base import File
from deploykit.transport.upload.archive import Folder, Link, Sized, archived, packed
from deploykit.transport.upload.present import Earlier, Found, Place, copied, copies, digests, look

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
    final = f"{folder}.{epoch}"
    losses = whole = number = 0
    while True:
        found = look(place, folder, earlier)  # this waits for a link that was lost
        losses, whole = (0 if len(found.there) > whole else losses), len(found.there)
        # Whatever received the last try may still write, hours after a link was lost in silence.
        own = f"{final}-{number}" if number else final
        work = _Work(place, source, entries, own, tell, check)
        try:
            return work.bring(found, earlier.folder if earlier else "", final)
        except LinkLost:
            losses, number = losses + 1, number + 1
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

    def bring(self, found: Found, earlier: str, final: str) -> None:
        """Copy what is on the host already, send what is not, verify it, and name it *final*."""
        missing = self._missing(found, earlier)
        progress = _Progress(missing, self.tell, self.check)
        files = (_file(self.source, entry, progress) for entry in missing)
        if found.unpacks:
            self._send_stream(zip(missing, files, strict=True), progress)
        else:
            self._send_files(files, progress)
        then = _modes([entry for entry in self.entries if entry.kind != "link"])
        if self.folder != final:
            then += fill(" && {{ [ ! -e {0} ] || mv -- {0} {1}; }}", final, f"{self.folder}.old")
            then += fill(" && mv -- {} {}", self.folder, final)
        self._verify(missing, then)
        progress.end()

    def _missing(self, found: Found, earlier: str) -> list[Entry]:
        """Have the host copy what it has; return the files that it has not."""
        files = [entry for entry in self.entries if entry.kind == "file"]
        own = posixpath.basename(self.folder)
        missing = [e for e in files if found.there.get(f"{own}/{e.path}") != e.sha256]
        known = copies(missing, self.folder, found.there, (earlier, found.earlier))
        if not known:
            return missing
        now = copied(self.place, known, self.folder)
        return [entry for entry in files if now.get(entry.path) != entry.sha256]

    def _send_stream(self, files: Iterable[tuple[Entry, File]], progress: _Progress) -> None:
        """
        Send *files*, and make all folders and links, by one stream.

        Raises:
            TransferFailed: the host cannot unpack it.
        """
        members: Iterator[Folder | Link | Sized] = chain(
            (Folder(entry.path) for entry in self.entries if entry.kind == "dir"),
            (self._sized(entry, progress.counted(file)) for entry, file in files),
            (Link(entry.path, entry.target) for entry in self.entries if entry.kind == "link"),
        )
        done = self.place.transport.feed(
            fill(
                "export LC_ALL=C; mkdir -p -- {0} && cd -- {0} && gzip -dc | tar -xof -",
                self.folder,
            ),
            packed(archived(members)),
        )
        if done.exit_code != 0:
            said = done.stderr.decode(errors="replace").strip().split("\n")[0]
            raise TransferFailed(
                f"{self.place.name}: cannot write {self.folder} (disk full?): {said}"
            )

    def _sized(self, entry: Entry, file: File) -> Sized:
        local = self.source / entry.path
        try:
            return Sized(file, entry.size, int(local.lstat().st_mtime))
        except OSError as error:
            raise TransferFailed(f"{local} cannot be read: {error.strerror}") from error

    def _send_files(self, files: Iterable[File], progress: _Progress) -> None:
        """Send *files* over SFTP, with all folders and links."""
        sftp = self.place.transport.files()
        dirs = [entry for entry in self.entries if entry.kind == "dir"]
        inside = [(f"{self.folder}/{entry.path}", entry.mode | 0o700) for entry in dirs]
        sftp.mkdirs([(self.folder, 0o755), *inside])
        placed = (replace(file, path=f"{self.folder}/{file.path}") for file in files)
        sftp.write_all(placed, progress.sent)
        links = [entry for entry in self.entries if entry.kind == "link"]
        sftp.symlinks((entry.target, f"{self.folder}/{entry.path}") for entry in links)

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


def _file(source: Path, entry: Entry, progress: _Progress) -> File:
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

    return File(entry.path, entry.mode | 0o600, pieces)


def _modes(entries: Sequence[Entry]) -> str:
    """Return a script that sets the manifest's modes, whatever the umask was: folders last."""
    modes: dict[int, list[str]] = {}
    for entry in sorted(entries, key=lambda e: (e.kind == "dir", e.path)):
        modes.setdefault(entry.mode, []).append(entry.path)
    script = ["chmod 755 ."]
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

    def counted(self, file: File) -> File:
        """Return *file*, of which the bytes count when they are read."""

        def pieces(size: int) -> Iterator[bytes]:
            for piece in file.pieces(size):
                self.sent(len(piece))
                yield piece

        return replace(file, pieces=pieces)

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
