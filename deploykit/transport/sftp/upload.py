"""The upload: every entry of a manifest into a folder that does not count until it is verified."""

from __future__ import annotations

import hashlib
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from deploykit.command import Result
from deploykit.errors import LinkLost, TransferFailed
from deploykit.release import Entry
from deploykit.shell import quote
from deploykit.transport.base import File, Transport

__all__ = ["upload"]

LOSSES = 4  # of the link, one after the other, without a file that arrived in between
EVERY = 0.5  # seconds between two progress events


class Place(Protocol):
    """A connected host with SFTP and a shell."""

    name: str

    @property
    def transport(self) -> Transport:
        """The connection."""

    def query(self, script: str, *, timeout: float = 60.0, check: bool = True) -> Result:
        """Run a script that only looks."""


def upload(
    place: Place,
    source: Path,
    entries: Sequence[Entry],
    folder: str,
    epoch: int,
    tell: Callable[..., None],
    check: Callable[[], None],
) -> None:
    """
    Bring *entries* of *source* into *folder*`.`*epoch*, and send only what is not on the host.

    Each controller of a run fills a folder of its own: one that was fenced may still write. What
    an earlier one brought is copied, never moved or linked, for the same reason.

    Args:
        place: the host.
        source: local folder.
        entries: what to bring.
        folder: absolute path on the host; what contains it exists.
        epoch: of the controller.
        tell: told `done`, `total` (bytes), `files` and `of` about twice a second.
        check: called between pieces; may raise to stop.

    Raises:
        TransferFailed: a file cannot be read or written, or changed since it was packed.
        LinkLost: the connection ended, and did not come back or ended again and again.
    """
    losses = whole = 0
    while True:
        there = present(place, folder)  # this waits for a link that was lost
        losses, whole = (0 if len(there) > whole else losses), len(there)
        try:
            return _bring(place, source, entries, folder, epoch, there, tell, check)
        except LinkLost:
            losses += 1
            if losses == LOSSES:
                raise


def _bring(
    place: Place,
    source: Path,
    entries: Sequence[Entry],
    folder: str,
    epoch: int,
    there: Mapping[str, str],
    tell: Callable[..., None],
    check: Callable[[], None],
) -> None:
    """Send what is not *there*, once."""
    name = posixpath.basename(folder)
    own, folder = f"{name}.{epoch}", f"{folder}.{epoch}"
    files = place.transport.files()
    dirs = [entry for entry in entries if entry.kind == "dir"]
    inside = [(f"{folder}/{entry.path}", entry.mode | 0o700) for entry in dirs]
    files.mkdirs([(folder, 0o755), *inside])
    wanted = [
        entry
        for entry in entries
        if entry.kind == "file" and there.get(f"{own}/{entry.path}") != entry.sha256
    ]
    kept = {digest: path for path, digest in there.items()}
    copies = {entry.path: kept[entry.sha256] for entry in wanted if entry.sha256 in kept}
    _copy(place, copies, folder)
    missing = [entry for entry in wanted if entry.path not in copies]
    progress = _Progress(sum(entry.size for entry in missing), len(missing), tell, check)
    files.write_all((_file(source, entry, folder, progress) for entry in missing), progress.sent)
    links = [entry for entry in entries if entry.kind == "link"]
    files.symlinks((entry.target, f"{folder}/{entry.path}") for entry in links)
    modes = _modes([entry for entry in entries if entry.kind != "link"], folder)
    if wanted:
        _verify(place, wanted, folder, modes)
    else:
        place.query(modes, timeout=600.0)
    progress.end()


def present(place: Place, folder: str, then: str = ":") -> dict[str, str]:
    """
    Return the sha256 of every regular file in *folder*`.*` on the host, by path beside it.

    Args:
        place: the host.
        folder: absolute path on it.
        then: a script that is carried out after that.
    """
    above, name = posixpath.split(folder)
    listed = place.query(
        f"cd -- {quote(above)} 2>/dev/null || exit 0\n"
        f"for part in {quote(name)}.*; do\n"
        '  [ ! -d "$part" ] || find "./$part" -type f -exec sha256sum -z {} +\n'
        f"done\n{then}",
        timeout=600.0,
    )
    lines = (line for line in listed.output.split("\0") if line)
    return {line[66:].removeprefix("./"): line[:64] for line in lines}


def _copy(place: Place, sources: Mapping[str, str], folder: str) -> None:
    """Copy what is there already, beside *folder*, to the paths in it that name it."""
    lines = [f"cp -- {quote(f'../{old}')} {quote(f'./{new}')}" for new, old in sources.items()]
    if lines:
        place.query("\n".join([f"cd -- {quote(folder)} || exit 1", *lines]), timeout=600.0)


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


def _verify(place: Place, entries: Sequence[Entry], folder: str, then: str) -> None:
    """
    Compare what the host holds with what was sent.

    The script *then* is carried out in the same round trip.

    Raises:
        TransferFailed: a file there is another one.
    """
    above, name = posixpath.split(folder)
    there = present(place, f"{above}/{name.rpartition('.')[0]}", then)
    for entry in entries:
        if there.get(f"{name}/{entry.path}") != entry.sha256:
            raise TransferFailed(
                f"{place.name}: {folder}/{entry.path} is not what was sent (disk full?)"
            )


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
        self, total: int, of: int, tell: Callable[..., None], check: Callable[[], None]
    ) -> None:
        self._total, self._of = total, of
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
