"""
A host's lock and epochs, by files alone.

A folder that has something in it is never replaced by a rename (POSIX, rename: ENOTEMPTY), on any
server. So a lock and each epoch is one that appears whole under its name, with who made it inside:
of several who want it at once one gets it, and who has lost an answer finds out whether it is his.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_hex

from deploykit.engine.session import Holding
from deploykit.errors import Fenced, TransferFailed
from deploykit.files import Files
from deploykit.layout import Layout

__all__ = ["Wish", "epoch", "fence", "free", "holding", "take"]


@dataclass(frozen=True)
class Wish:
    """Who wants the lock, and under which conditions; see `Session.lock`."""

    run: str
    least: int
    seen: str
    owner: str

    def suits(self, epoch: int) -> bool:
        """Return whether the lock is wanted where *epoch* is the last."""
        if self.seen == "below":
            return epoch < self.least
        return self.seen == "-" or epoch == int(self.seen)


def epoch(files: Files, layout: Layout) -> int:
    """Return the epoch that was issued last; 0 before the first."""
    file = f"{layout.private}/epoch"  # the runner's, should the host get a shell
    issued = [name for name in files.names(_epochs(layout)) or () if name.isdigit()]
    return max(int(files.read([file]).get(file, b"") or 0), *map(int, issued), 0)


def fence(files: Files, layout: Layout, mine: int, host: str) -> None:
    """
    Look whether another epoch than *mine* was issued.

    Raises:
        Fenced: so it was.
    """
    now = epoch(files, layout)
    if now != mine:
        raise Fenced(host, now)


def holding(files: Files, layout: Layout) -> Holding | None:
    """Return who holds the lock; None if nobody does."""
    folder = _lock(layout)
    run, owner = _held(files, folder)
    if not run:
        return None
    # Only the host's own clock can be compared with the times of its files.
    clock, heartbeat = f"{layout.private}/clock", f"{folder}/heartbeat"
    try:
        files.write(io.BytesIO(b"."), clock, 0o600)
    except TransferFailed:
        return Holding(run, owner, 0.0, "connected")  # nobody can tell, so he may be there
    seen = files.look([clock, heartbeat])
    if heartbeat not in seen:
        return None  # it was freed just now
    return Holding(run, owner, float(seen[clock].mtime - seen[heartbeat].mtime), "connected")


def take(files: Files, layout: Layout, wish: Wish, host: str) -> tuple[str, ...]:
    """
    Take the lock; may be done again where the answer was lost.

    Returns:
        `locked` and the epoch, or `held`.

    Raises:
        Fenced: the epoch is not the one that was seen, or somebody else was faster.
    """
    folder = _lock(layout)
    run, _ = _held(files, folder)
    if run and run != wish.run:
        return ("held",)
    now = epoch(files, layout)
    ours = _issued_by(files, layout, now) == wish.owner
    if not ours and not wish.suits(now):
        raise Fenced(host, now)
    contents = {"run": wish.run, "owner.json": wish.owner, "heartbeat": ""}
    if not run:
        # Before an epoch is issued: who does not get the lock must fence nobody.
        if not _appear(files, layout, folder, contents) and _held(files, folder)[1] != wish.owner:
            return ("held",)
        return ("locked", str(_issue(files, layout, wish.least, wish.owner, host)))
    number = (
        now if ours and now >= wish.least else _issue(files, layout, wish.least, wish.owner, host)
    )
    _write(files, f"{folder}/heartbeat", ".")
    _write(files, f"{folder}/owner.json", wish.owner)
    return ("locked", str(number))


def free(files: Files, layout: Layout, run: str, mine: str, host: str) -> tuple[str, ...]:
    """
    Free the lock if *run* holds it: `unlocked`, or `notmine`.

    Raises:
        Fenced: another epoch than *mine* was issued; never where that is `-`.
    """
    folder, grave = _lock(layout), f"{layout.private}/unlocked"
    if mine != "-":
        fence(files, layout, int(mine), host)
    if _held(files, folder)[0] != run:
        return ("notmine",)
    if mine == "-":
        # Whoever held it may only sleep, and has to find himself fenced.
        _issue(files, layout, 0, f"by force {token_hex(8)}", host)
    files.remove([grave])
    files.move(folder, grave)
    parts = [name for name in files.names(layout.run(run)) or () if name.endswith(".part")]
    files.remove([grave, *(f"{layout.run(run)}/{name}" for name in parts)])
    return ("unlocked",)


def _issue(files: Files, layout: Layout, least: int, owner: str, host: str) -> int:
    """Issue an epoch of at least *least* to *owner*; of several who do so at once, to one."""
    number = max(epoch(files, layout) + 1, least)
    name = f"{_epochs(layout)}/{number}"
    is_new = _appear(files, layout, name, {"by": owner})
    if not is_new and _issued_by(files, layout, number) != owner:
        raise Fenced(host, number)
    _write(files, f"{layout.private}/epoch", f"{number}\n")
    older = [name for name in files.names(_epochs(layout)) or () if name.isdigit()]
    files.remove(f"{_epochs(layout)}/{name}" for name in older if int(name) < number)
    return number


def _issued_by(files: Files, layout: Layout, number: int) -> str:
    path = f"{_epochs(layout)}/{number}/by"
    return files.read([path]).get(path, b"").decode(errors="replace")


def _held(files: Files, folder: str) -> tuple[str, str]:
    """Return the run that holds the lock, and its owner; two empty texts if nobody does."""
    paths = [f"{folder}/run", f"{folder}/owner.json"]
    found = files.read(paths)
    run, owner = (found.get(path, b"").decode(errors="replace") for path in paths)
    return run.strip(), owner.strip()


def _appear(files: Files, layout: Layout, folder: str, contents: Mapping[str, str]) -> bool:
    """Make *folder* with *contents*, under its name all at once; false if it is there."""
    part = f"{layout.private}/.new-{token_hex(8)}"
    files.mkdir(part, 0o700)
    for name, text in contents.items():
        files.write(io.BytesIO(text.encode()), f"{part}/{name}", 0o600)
    if files.move(part, folder):
        return True
    files.remove([part])
    return False


def _write(files: Files, path: str, text: str) -> None:
    """Replace *path*."""
    files.write(io.BytesIO(text.encode()), f"{path}.new", 0o600)
    files.rename(f"{path}.new", path)


def _lock(layout: Layout) -> str:
    return f"{layout.private}/lock"


def _epochs(layout: Layout) -> str:
    return f"{layout.private}/epochs"
