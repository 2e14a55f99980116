"""The folder in which a release grows on a host without a shell: whose it is, and its name."""

from __future__ import annotations

import io
import json
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

from deploykit.errors import TransferFailed
from deploykit.files import Files
from deploykit.release import Manifest
from deploykit.transport.upload.whole import Times, times_said

__all__ = ["Part", "claim"]


@dataclass(frozen=True)
class Part:
    """
    A folder that only this try of an upload writes to.

    Args:
        path: absolute.
        times: those that its files get; a file that has its own is whole.
        is_new: there is nothing in it yet.
    """

    path: str
    times: Times
    is_new: bool


def claim(
    files: Files, folder: str, epoch: int, manifest: Manifest, here: Callable[[], Times]
) -> Part:
    """
    Make the folder of a new try, out of what the try before has left, if there was one.

    It is renamed, and never filled under a name that it had: what is on its way still over a link
    that was lost, or from a controller that is gone, finds nothing under the old one. Only what it
    has open it may go on with, and such a file has not got its time yet, and so is not whole.

    The times are kept beside it before any file is in it, so that another machine, on which the
    sources may have other ones, knows what is whole. All are before the folder was made, by the
    host's clock: no file has its own by chance, because it was just written.

    Args:
        files: of the host.
        folder: absolute path, but for the epoch.
        epoch: of this controller; what has a later one is left alone.
        manifest: what is to be in it.
        here: asked for the times of the sources.

    Raises:
        TransferFailed: it cannot be made, or another controller is making it.
    """
    above, stem = posixpath.split(folder)
    named = re.compile(rf"{re.escape(stem)}\.(\d+)(?:-(\d+))?")
    found = [match for name in files.names(above) or () if (match := named.fullmatch(name))]
    tries = {(int(match[1]), int(match[2] or 0)): f"{above}/{match[0]}" for match in found}
    last = max((number for number in tries if number[0] <= epoch), default=(0, 0))
    own = f"{folder}.{epoch}-{last[1] + 1 if last[0] == epoch else 1}"
    if last in tries and (times := _kept(files, tries[last], manifest)):
        _keep(files, own, times)
        if not files.move(tries[last], own):
            raise TransferFailed(f"{own} is there already: another controller is at work")
        files.mkdir(own, 0o700)
        return Part(own, times, is_new=False)
    files.mkdir(own, 0o700)
    latest = files.look([own])[own].mtime - 1
    times = {path: min(time, latest) for path, time in here().items()}
    _keep(files, own, times)
    return Part(own, times, is_new=True)


def _keep(files: Files, part: str, times: Times) -> None:
    files.write(io.BytesIO(json.dumps(times).encode()), f"{part}.json.times", 0o600)


def _kept(files: Files, part: str, manifest: Manifest) -> Times | None:
    """Return the times with which *part* was begun; None if not all are known."""
    beside = f"{part}.json.times"
    times = times_said(files.read([beside]).get(beside, b""))
    return times if all(entry.path in times for entry in manifest.files) else None
