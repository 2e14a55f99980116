"""Whole trees removed over SFTP, a depth at a time, all of one depth at once."""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from deploykit.transport.sftp import requests
from deploykit.transport.sftp.changing import gone
from deploykit.transport.sftp.conversation import Conversation
from deploykit.transport.sftp.looking import entries, look, stat_of
from deploykit.transport.sftp.packets import Attributes, Code, ProtocolError
from deploykit.transport.sftp.tasks import Refused, Task, Together

__all__ = ["remove_all"]

LONGEST: Final = 4096  # bytes of a path; no system has longer ones
MOST: Final = 1_000_000  # files and folders under what is removed
OURS: Final = stat.S_IRWXU
BATCH: Final = 64  # files that are removed at once


def remove_all(sftp: Conversation, paths: Iterable[str]) -> None:
    """
    Remove files, links and whole folders; absent ones are no error, links are not followed.

    Args:
        sftp: over which.
        paths: of them.

    Raises:
        Refused: something was.
        ProtocolError: the server says that there is more in them than can be.
    """
    sure = sftp.offers(requests.LSETSTAT)
    level, folders, count = list(paths), deque[list[str]](), 0
    while level:
        emptied: list[str] = []
        below: list[str] = []
        for path, inside in sftp.all(_remove(path, sure=sure) for path in level):
            if inside is not None:
                emptied.append(path)
                below += inside
                count += len(inside)
                if count > MOST:
                    raise ProtocolError(f"more than {MOST} files, down to {path}")
        folders.appendleft(emptied)
        level = below
    for emptied in folders:
        deque(sftp.all(gone(requests.rmdir(path)) for path in emptied), maxlen=0)


def _remove(path: str, *, sure: bool) -> Task[tuple[str, list[str] | None]]:
    """Remove what is no folder; of a folder return what has to go before it."""
    if len(path) > LONGEST:
        raise ProtocolError(f"a path of {len(path)} bytes: {path[:80]}")
    found = yield from look(path, sure=sure)
    if found is None:
        return path, None
    if found.kind != "dir":
        yield from gone(requests.remove(path))
        return path, None
    if found.mode & OURS != OURS:
        with suppress(Refused):  # what it is needed for is refused then, or not
            yield requests.setstat(path, Attributes(mode=found.mode | OURS))
    files: list[str] = []
    inside: list[str] = []
    for entry in (yield from entries(path)) or []:
        known = stat_of(entry.attributes).kind in ("file", "link")
        (files if known else inside).append(f"{path}/{entry.name}")
    for at in range(0, len(files), BATCH):
        batch = tuple(requests.remove(file) for file in files[at : at + BATCH])
        for answer in (yield Together(batch)):
            if isinstance(answer, Refused) and answer.status.code != Code.NO_SUCH_FILE:
                raise answer
    return path, inside
