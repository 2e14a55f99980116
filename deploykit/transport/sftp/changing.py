"""Tasks that make, name, mark and remove one file or folder each."""

from __future__ import annotations

from typing import Final

from deploykit.transport.sftp import requests
from deploykit.transport.sftp.looking import entries, look, takes_for_target
from deploykit.transport.sftp.packets import Attributes, Code, ProtocolError, Request
from deploykit.transport.sftp.tasks import Refused, Task

__all__ = ["gone", "make_folder", "move", "remove_folder", "rename", "set_mode", "symlink"]

TRIES: Final = 3  # of a move whose place is taken, and free again when we look


def make_folder(path: str, mode: int, *, keep: bool = False) -> Task[bool]:
    """
    Make a folder of a mode; section 6.6.

    Args:
        path: of the folder.
        mode: set whatever the umask.
        keep: leave the mode of one that is there.

    Returns:
        Whether it was not there.
    """
    made = True
    try:
        yield requests.mkdir(path, mode)
    except Refused:
        found = yield from look(path)
        if found is None or found.kind == "file":
            raise
        made = False
    if made or not keep:
        yield requests.setstat(path, Attributes(mode=mode))
    return made


def set_mode(path: str, mode: int) -> Task[None]:
    """Set permission bits; section 6.9."""
    yield requests.setstat(path, Attributes(mode=mode))


def symlink(target: str, path: str) -> Task[None]:
    """Make a link, replacing one that is there; section 6.10."""
    found = yield from look(path)
    if found and found.kind == "link":
        yield requests.remove(path)
    yield requests.symlink(target, path)


def rename(old: str, new: str, *, replaces: bool, sure: bool) -> Task[None]:
    """
    Give a file or link the name *new*, and remove what had it.

    Args:
        old: its name.
        new: its name from now on.
        replaces: the server has PROTOCOL 4.3, which does both in one step.
        sure: the server knows a link from what it leads to.

    Raises:
        ProtocolError: *old* is a link for which the server would rename what it leads to.
    """
    if not sure:
        yield from _is_itself(old)
        replaces = replaces and not (yield from takes_for_target(new))
    if replaces:
        yield requests.posix_rename(old, new)
        return
    # Looked at first: what is not there must not cost what is.
    yield requests.lstat(old)
    yield from gone(requests.remove(new))
    yield requests.rename(old, new)


def move(old: str, new: str, *, sure: bool, tries: int = TRIES) -> Task[bool]:
    """
    Give something a name that nothing has; section 6.5, which forbids servers to replace.

    Args:
        old: its name.
        new: its name from now on.
        sure: the server knows a link from what it leads to.
        tries: how often to try while it is refused and nothing is in the way.

    Returns:
        Whether it has it; if not, something else had it.

    Raises:
        ProtocolError: as `rename`.
    """
    if not sure:
        yield from _is_itself(old)
    try:
        yield requests.rename(old, new)
    except Refused:
        # No code tells why; and what was in the way can be gone by now: a lock, for example.
        if (yield from look(new)):
            return False
        if tries == 1:
            raise
        return (yield from move(old, new, sure=True, tries=tries - 1))
    return True


def _is_itself(path: str) -> Task[None]:
    """Raise if *path* is a link and the server says that it is what it leads to: as proftpd."""
    if (yield from takes_for_target(path)):
        raise ProtocolError(f"it takes the link {path} for what that leads to")


def gone(request: Request) -> Task[None]:
    """Ask to remove something, and do not mind that it is not there."""
    try:
        yield request
    except Refused as error:
        if error.status.code != Code.NO_SUCH_FILE:
            raise


def remove_folder(path: str) -> Task[bool]:
    """Remove an empty folder; return false if it is not empty, or not there."""
    try:
        yield requests.rmdir(path)
    except Refused:
        # No code tells why.
        found = yield from look(path)
        if found and (found.kind != "dir" or (yield from entries(path)) == []):
            raise
        return False
    return True
