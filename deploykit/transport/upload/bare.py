"""Bringing a tree to a host that has SFTP and no shell: copied there where it can be, or sent."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from deploykit.errors import LinkLost, TransferFailed
from deploykit.files import Copy, File, Files, Stat
from deploykit.release import Entry, Manifest
from deploykit.transport.retrying import RetryingTransport
from deploykit.transport.upload.parts import Part, claim
from deploykit.transport.upload.present import Earlier
from deploykit.transport.upload.sending import LOSSES, Progress, changed, to_send
from deploykit.transport.upload.whole import copies_of, is_whole, times_here

__all__ = ["upload"]


def upload(
    transport: RetryingTransport,
    name: str,
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

    It grows under another name, mode 0700, and gets that one when every size, time and mode in it
    has been looked at. Its manifest lies beside it then, in *folder*`.`*epoch*`.json`, and the
    times of its files in *folder*`.`*epoch*`.json.times`.

    Args:
        transport: the host's.
        name: its label.
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
    above = posixpath.dirname(folder)
    work = _Work(name, source, manifest, folder, epoch, tell, check, earlier)
    while True:
        transport.insist(lambda way: way.files().names(above))  # waits for a link that was lost
        try:
            return transport.once(lambda way: work.bring(way.files()))
        except LinkLost:
            work.losses += 1
            if work.losses == LOSSES:
                raise


@dataclass
class _Work:
    """An upload, try after try; see `upload`."""

    name: str
    source: Path
    manifest: Manifest
    folder: str
    epoch: int
    tell: Callable[..., None]
    check: Callable[[], None]
    earlier: Earlier | None
    losses: int = 0
    whole: int = field(default=0, init=False)

    def bring(self, files: Files) -> None:
        """
        Have the host copy what it has, send the rest, look at everything, and name it.

        Raises:
            TransferFailed: see `upload`.
        """
        part = claim(
            files,
            self.folder,
            self.epoch,
            self.manifest,
            lambda: times_here(self.source, self.manifest),
        )
        absent = self._absent(files, part)
        self._count(len(self.manifest.files) - len(absent))
        files.mkdirs((f"{part.path}/{e.path}", e.mode | 0o700) for e in self._of("dir"))
        missing = self._copy(files, part, absent)
        progress = Progress(self.tell, self.check)
        progress.expect(missing)
        files.write_all((self._file(part, e, progress) for e in missing), lambda _size: None)
        files.symlinks((e.target, f"{part.path}/{e.path}") for e in self._of("link"))
        self._close(files, part, self._verified(files, part))
        self._name(files, part)
        progress.end()

    def _of(self, kind: str) -> list[Entry]:
        return [entry for entry in self.manifest.entries if entry.kind == kind]

    def _count(self, whole: int) -> None:
        """Forget the losses before, where the tries have brought something."""
        if whole > self.whole:
            self.losses = 0
        self.whole = whole

    def _absent(self, files: Files, part: Part) -> Sequence[Entry]:
        """Return the files that are not whole in *part*, and remove what is there of them."""
        wanted = self.manifest.files
        if part.is_new:
            return wanted
        self._open(files, part)
        found = files.look(f"{part.path}/{entry.path}" for entry in wanted)
        absent = [
            entry
            for entry in wanted
            if not is_whole(found.get(f"{part.path}/{entry.path}"), entry, part.times[entry.path])
        ]
        # Who has one of them open still, writes to what has no name any more.
        files.remove(path for e in absent if (path := f"{part.path}/{e.path}") in found)
        return absent

    def _open(self, files: Files, part: Part) -> None:
        """Make folders accessible that have their modes already, from the outside in."""
        for level in _levels(self._of("dir")):
            found = files.look(f"{part.path}/{entry.path}" for entry in level)
            files.modes((path, stat.mode | 0o700) for path, stat in found.items())

    def _copy(self, files: Files, part: Part, absent: Sequence[Entry]) -> list[Entry]:
        """Have the server copy what it can; return what is missing still."""
        if self.earlier is None:
            return list(absent)

        def copied(entry: Entry, path: str) -> Copy:
            return Copy(path, f"{part.path}/{entry.path}", entry.mode, part.times[entry.path])

        copies = copies_of(absent, files, self.earlier, copied)
        made = files.copy_all(self._asking(copies))
        # Half a copy may have a mode that lets nobody write to it.
        files.remove(copy.path for copy in copies if copy.path not in made)
        return [entry for entry in absent if f"{part.path}/{entry.path}" not in made]

    def _asking(self, copies: Iterable[Copy]) -> Iterator[Copy]:
        for copy in copies:
            self.check()
            yield copy

    def _file(self, part: Part, entry: Entry, progress: Progress) -> File:
        """Return *entry* as it is to be written; its sum is told here, since nobody there can."""
        local = f"{self.source}/{entry.path}"
        file = to_send(local, entry, progress)

        def pieces(most: int) -> Iterator[bytes]:
            digest = hashlib.sha256()
            for piece in file.pieces(most):
                digest.update(piece)
                yield piece
            if digest.hexdigest() != entry.sha256:
                raise changed(local)

        time, path = part.times[entry.path], f"{part.path}/{entry.path}"
        return replace(file, path=path, mode=entry.mode, pieces=pieces, mtime=time)

    def _verified(self, files: Files, part: Part) -> dict[str, Stat]:
        """
        Return what lies under each path.

        Raises:
            TransferFailed: something is not as it was sent.
        """
        found = files.look(f"{part.path}/{entry.path}" for entry in self.manifest.entries)
        for entry in self.manifest.entries:
            path = f"{part.path}/{entry.path}"
            there = found.get(path)
            if entry.kind == "file":
                right = is_whole(there, entry, part.times[entry.path])
                right = right and there is not None and (there.mode ^ entry.mode) & 0o777 == 0
            else:
                right = there is not None and there.kind == entry.kind
            if not right:
                raise TransferFailed(
                    f"{self.name}: {path} is not what was sent (disk full?): {there or 'not there'}"
                )
        return found

    def _close(self, files: Files, part: Part, found: dict[str, Stat]) -> None:
        """Give folders their modes; those that nobody may enter get theirs from the inside out."""
        folders = self._of("dir")
        different = [
            (path, entry.mode)
            for entry in folders
            if found[path := f"{part.path}/{entry.path}"].mode != entry.mode
        ]
        files.modes((path, mode) for path, mode in different if mode & 0o700 == 0o700)
        for level in reversed(_levels(folders)):
            files.modes((f"{part.path}/{entry.path}", entry.mode) for entry in level)

    def _name(self, files: Files, part: Part) -> None:
        """Give *part* its name, once what says what is in it is there."""
        final = f"{self.folder}.{self.epoch}"
        files.write(io.BytesIO(self.manifest.to_json().encode()), f"{final}.json", 0o600)
        files.write(io.BytesIO(json.dumps(part.times).encode()), f"{final}.json.times", 0o600)
        files.modes([(part.path, 0o755)])
        if not files.move(part.path, final):
            raise TransferFailed(f"{self.name}: {final} is there already")


def _levels(folders: Iterable[Entry]) -> list[list[Entry]]:
    """Return the folders that even their owner may not use, those of one depth together."""

    def depth(entry: Entry) -> int:
        return entry.path.count("/")

    closed = sorted((e for e in folders if e.mode & 0o700 != 0o700), key=depth)
    return [list(level) for _, level in groupby(closed, key=depth)]
