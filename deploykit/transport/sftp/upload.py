"""The upload: every entry of a manifest into a folder that does not count until it is verified."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from deploykit.command import Result
from deploykit.errors import TransferFailed
from deploykit.release import Entry
from deploykit.shell import quote
from deploykit.transport.base import Files, Transport

__all__ = ["upload"]

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
    tell: Callable[..., None],
    check: Callable[[], None],
) -> None:
    """
    Bring *entries* of *source* into *folder*, skipping files that are there already, whole.

    Args:
        place: the host.
        source: local folder.
        entries: what to bring.
        folder: absolute path on the host; it exists.
        tell: told `done`, `total` (bytes), `files` and `of` about twice a second.
        check: called between pieces; may raise to stop.

    Raises:
        TransferFailed: a file cannot be read or written, or changed since it was packed.
        LinkLost: the connection ended; calling again goes on with what is missing.
    """
    there = present(place, folder)
    files = place.transport.files()
    for entry in entries:
        if entry.kind == "dir":
            files.mkdir(f"{folder}/{entry.path}", entry.mode | 0o700)
    missing = [
        entry for entry in entries if entry.kind == "file" and there.get(entry.path) != entry.sha256
    ]
    progress = _Progress(sum(entry.size for entry in missing), len(missing), tell, check)
    for entry in missing:
        _send(files, source, entry, folder, progress)
    if missing:
        _verify(place, missing, folder)
    for entry in entries:
        if entry.kind == "link":
            files.symlink(entry.target, f"{folder}/{entry.path}")
    _set_modes(place, [entry for entry in entries if entry.kind != "link"], folder)
    progress.end()


def present(place: Place, folder: str) -> dict[str, str]:
    """Return the sha256 of every regular file under *folder* on the host, by relative path."""
    listed = place.query(
        f"cd -- {quote(folder)} && find . -type f -exec sha256sum -z {{}} +", timeout=600.0
    )
    lines = (line for line in listed.output.split("\0") if line)
    return {line[66:].removeprefix("./"): line[:64] for line in lines}


def _send(files: Files, source: Path, entry: Entry, folder: str, progress: _Progress) -> None:
    local = source / entry.path
    try:
        with local.open("rb") as stream:
            reader = _Hashing(stream)
            files.write(
                cast("BinaryIO", reader),
                f"{folder}/{entry.path}",
                entry.mode | 0o600,
                progress.sent,
            )
    except OSError as error:
        raise TransferFailed(f"{local} cannot be read: {error.strerror}") from error
    if reader.digest != entry.sha256:
        raise TransferFailed(
            f"{local} changed while it was being sent", then="run again when nothing writes to it"
        )
    progress.file()


def _verify(place: Place, entries: Sequence[Entry], folder: str) -> None:
    """
    Compare what the host holds with what was sent: SFTP answers for pipelined writes too late.

    Raises:
        TransferFailed: a file there is another one.
    """
    there = present(place, folder)
    for entry in entries:
        if there.get(entry.path) != entry.sha256:
            raise TransferFailed(
                f"{place.name}: {folder}/{entry.path} is not what was sent (disk full?)"
            )


def _set_modes(place: Place, entries: Sequence[Entry], folder: str) -> None:
    """Set the manifest's modes, whatever the umask was: one pass, folders last."""
    modes: dict[int, list[str]] = {}
    for entry in sorted(entries, key=lambda e: (e.kind == "dir", e.path), reverse=False):
        modes.setdefault(entry.mode, []).append(entry.path)
    script = [f"cd -- {quote(folder)}"]
    for mode, paths in modes.items():
        for at in range(0, len(paths), 200):
            words = " ".join(quote(f"./{path}") for path in paths[at : at + 200])
            script.append(f"chmod {mode:o} -- {words}")
    place.query(" && ".join(script), timeout=600.0)


class _Hashing:
    """Reads a stream and hashes what it read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read up to *size* bytes."""
        piece = self._stream.read(size)
        self._hash.update(piece)
        return piece

    @property
    def digest(self) -> str:
        """Return the sha256 of everything read."""
        return self._hash.hexdigest()


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
