"""What a host without a shell has of a tree: told by sizes and times, since nothing can be run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from deploykit.errors import TransferFailed
from deploykit.files import Copy, FilesToLookAt, Stat
from deploykit.release import Entry, Manifest
from deploykit.transport.upload.present import Earlier

__all__ = ["Times", "altered", "copies_of", "is_whole", "times_here", "times_said"]

Times = Mapping[str, int]
LATEST = 2**32 - 1  # the last second that SFTP can say


def times_here(source: Path, manifest: Manifest) -> Times:
    """
    Return when each file of *manifest* was changed last in *source*, in seconds since 1970.

    Raises:
        TransferFailed: a file is not there any more.
    """
    times = {}
    for entry in manifest.files:
        local = f"{source}/{entry.path}"
        try:
            times[entry.path] = min(max(int(os.lstat(local).st_mtime), 0), LATEST)
        except OSError as error:
            raise TransferFailed(f"{local} cannot be read: {error.strerror}") from error
    return times


def times_said(text: bytes) -> Times:
    """Return the times that lie on a host as *text*; of what is no such file, none."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    return {path: time for path, time in said.items() if isinstance(time, int)}


def is_whole(found: Stat | None, entry: Entry, time: int | None) -> bool:
    """Return whether what was *found* is the file *entry*, as far as can be told from outside."""
    return found is not None and (found.kind, found.size, found.mtime) == ("file", entry.size, time)


def copies_of(
    wanted: Sequence[Entry],
    files: FilesToLookAt,
    earlier: Earlier,
    copied: Callable[[Entry, str], Copy],
) -> list[Copy]:
    """
    Return how the server can make what *earlier* has of *wanted*: only of what is as it was left.

    Args:
        wanted: files of a manifest.
        files: of the host.
        earlier: a release, with its manifest and times.
        copied: makes the copy of an entry from the absolute path given.
    """
    manifest, times = _said(files, earlier)
    digests: set[object] = {entry.sha256 for entry in wanted}
    there = [e for e in _within_reach(manifest) if e.sha256 in digests and e.path in times]
    found = files.look(f"{earlier.folder}/{entry.path}" for entry in there)
    same = [e for e in there if is_whole(found.get(f"{earlier.folder}/{e.path}"), e, times[e.path])]
    return list(_chosen(wanted, same, earlier.folder, copied))


def altered(files: FilesToLookAt, earlier: Earlier) -> list[str]:
    """Return the files of *earlier* that are gone, or not as they were left."""
    manifest, times = _said(files, earlier)
    there = [entry for entry in _within_reach(manifest) if entry.path in times]
    found = files.look(f"{earlier.folder}/{entry.path}" for entry in there)
    return [
        entry.path
        for entry in there
        if not is_whole(found.get(f"{earlier.folder}/{entry.path}"), entry, times[entry.path])
    ]


def _said(files: FilesToLookAt, earlier: Earlier) -> tuple[Manifest, Times]:
    """Return what *earlier* is said to contain, and since when."""
    said = files.read([earlier.manifest, earlier.times])
    manifest = Manifest.claimed(said.get(earlier.manifest, b"").decode(errors="replace"))
    return manifest, times_said(said.get(earlier.times, b""))


def _within_reach(manifest: Manifest) -> Iterator[Entry]:
    """Give the files that are in no folder which even its owner may not enter."""
    closed = {e.path for e in manifest.entries if e.kind == "dir" and not e.mode & 0o100}
    for entry in manifest.files:
        if closed.isdisjoint(map(str, PurePosixPath(entry.path).parents)):
            yield entry


def _chosen(
    wanted: Sequence[Entry],
    same: Sequence[Entry],
    folder: str,
    copied: Callable[[Entry, str], Copy],
) -> Iterator[Copy]:
    """Give the copies: of the same path where that has the contents, else of any other."""
    anywhere = {entry.sha256: entry.path for entry in same}
    in_place = {(entry.path, entry.sha256) for entry in same}
    for entry in wanted:
        if (entry.path, entry.sha256) in in_place:
            yield copied(entry, f"{folder}/{entry.path}")
        elif entry.sha256 in anywhere:
            yield copied(entry, f"{folder}/{anywhere[entry.sha256]}")
