"""
A host's lock and epochs, by files alone.

A folder that has something in it is never replaced by a rename (POSIX, rename: ENOTEMPTY), on any
server. So a lock is one that appears whole under its name, with its owner inside: of several who
want it at once one gets it, and who has lost an answer finds out whether it is his.

Just so an epoch is issued once: what follows epoch 6 stands in the folder `epochs/6`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from secrets import token_hex

from deploykit.engine.answers import Holding
from deploykit.errors import Fenced, TransferFailed
from deploykit.files import File, Files
from deploykit.layout import Layout

__all__ = ["Wish", "epoch", "fence", "free", "holding", "is_last", "take"]


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


@dataclass(frozen=True)
class Issued:
    """
    An epoch.

    Args:
        number: of it.
        by: the owner to whom it was issued; empty where the host had a shell then.
        after: the one before.
    """

    number: int
    by: str
    after: int


def epoch(files: Files, layout: Layout) -> int:
    """Return the epoch that was issued last; 0 before the first."""
    return _last(files, layout).number


def fence(files: Files, layout: Layout, mine: int, host: str) -> None:
    """
    Look whether another epoch than *mine* was issued.

    Raises:
        Fenced: so it was.
    """
    now = epoch(files, layout)
    if now != mine:
        raise Fenced(host, now)


def is_last(files: Files, layout: Layout, number: int, after: int) -> bool:
    """Return whether epoch *number*, which followed *after*, is the last one; it takes one trip."""
    own, next_one = f"{_epochs(layout)}/{after}", f"{_epochs(layout)}/{number}"
    found = files.look([own, next_one])
    return own in found and next_one not in found


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
        `locked`, the epoch and that before it; or `held`.

    Raises:
        Fenced: the epoch is not the one that was seen, or somebody else was faster.
    """
    folder = _lock(layout)
    run, _ = _held(files, folder)
    if run and run != wish.run:
        return ("held",)
    last = _last(files, layout)
    ours = last.by == wish.owner and last.number >= wish.least
    if not ours and not wish.suits(last.number):
        raise Fenced(host, last.number)
    contents = {"run": wish.run, "owner.json": wish.owner, "heartbeat": ""}
    # Before an epoch is issued: who does not get the lock must fence nobody.
    if not run and not _appear(files, layout, folder, contents):
        run, by = _held(files, folder)
        if by != wish.owner:
            return ("held",)
    issued = last if ours else _issue(files, layout, last, wish, host)
    if run:
        _write(files, f"{folder}/heartbeat", ".")
        _write(files, f"{folder}/owner.json", wish.owner)
    return ("locked", str(issued.number), str(issued.after))


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
        owner = f"by force {token_hex(8)}"
        _issue(files, layout, _last(files, layout), Wish(run, 0, "-", owner), host)
    files.remove([grave])
    files.move(folder, grave)
    parts = [name for name in files.names(layout.run(run)) or () if name.endswith(".part")]
    files.remove([grave, *(f"{layout.run(run)}/{name}" for name in parts)])
    return ("unlocked",)


def _last(files: Files, layout: Layout) -> Issued:
    """Return the epoch that was issued last."""
    runners = f"{layout.private}/epoch"  # should the host have had a shell, or get one
    after = max(_folders(files, layout), default=0)
    folder = f"{_epochs(layout)}/{after}"
    found = files.read([runners, f"{folder}/number", f"{folder}/by"])
    number = int(found.get(f"{folder}/number", b"") or 0)
    by = found.get(f"{folder}/by", b"").decode(errors="replace")
    known = int(found.get(runners, b"") or 0)
    return Issued(known, "", known) if known > number else Issued(number, by, after)


def _issue(files: Files, layout: Layout, last: Issued, wish: Wish, host: str) -> Issued:
    """Issue the epoch that follows *last*; of several who do so at once, to one."""
    new = Issued(max(last.number + 1, wish.least), wish.owner, last.number)
    folder = f"{_epochs(layout)}/{new.after}"
    if not _appear(files, layout, folder, {"number": f"{new.number}\n", "by": new.by}):
        found = _last(files, layout)
        if found.by != wish.owner:
            raise Fenced(host, found.number)
    _write(files, f"{layout.private}/epoch", f"{new.number}\n")
    older = [number for number in _folders(files, layout) if number < new.after]
    files.remove(f"{_epochs(layout)}/{number}" for number in older)
    return new


def _folders(files: Files, layout: Layout) -> list[int]:
    """Return the epochs that another one has followed, as far as that is kept."""
    return [int(name) for name in files.names(_epochs(layout)) or () if name.isdigit()]


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
    now = int(time.time())  # what has a time is on the disk: without its words nobody could free it
    files.write_all(
        [
            File(f"{part}/{name}", 0o600, partial(_once, text.encode()), now if text else None)
            for name, text in contents.items()
        ],
        lambda _size: None,
    )
    if files.move(part, folder):
        return True
    files.remove([part])
    return False


def _once(data: bytes, _most: int) -> Iterator[bytes]:
    """Give *data*, which is short."""
    yield data


def _write(files: Files, path: str, text: str) -> None:
    """Replace *path*."""
    files.write(io.BytesIO(text.encode()), f"{path}.new", 0o600)
    files.rename(f"{path}.new", path)


def _lock(layout: Layout) -> str:
    return f"{layout.private}/lock"


def _epochs(layout: Layout) -> str:
    return f"{layout.private}/epochs"
