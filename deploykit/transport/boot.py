"""
How a command is started on a host: by a small `sh` of ours, whatever the login shell is.

A login shell sees one line that never changes, `BOOT`. What is to be done comes on standard input,
first one line of POSIX shell, then what that line reads: so nothing of it stands in a process list,
and a channel can be opened before anybody knows what it will be used for.

Marks tell our own words from what a login shell prints before it: one on standard output when our
`sh` is there, one on standard error when it has read its line.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["BOOT", "MARK", "AfterMark", "message"]

MARK = b"\x01deploykit"
BOOT = (
    r"""exec sh -c 'printf "\001deploykit\n"; """
    r"""IFS= read -r dk && printf "\001deploykit\n" >&2 && eval "$dk"'"""
)


def message(command: str, stdin: bytes = b"") -> bytes:
    """
    Return what `BOOT` reads: *command* on its line, then *stdin*.

    Raises:
        ValueError: *command* is more than one line.
    """
    if "\n" in command:
        raise ValueError(f"not one line of shell: {command!r}")
    return command.encode() + b"\n" + stdin


class AfterMark:
    """
    Takes a stream, and keeps or passes on what comes after our mark.

    Args:
        take: is given the pieces; without it they are kept.
    """

    def __init__(self, take: Callable[[bytes], object] | None = None) -> None:
        self._kept = bytearray()
        self._head = bytearray()
        self._take = take or self._kept.extend
        self.seen = False

    def __call__(self, piece: bytes) -> None:
        """Take *piece* of the stream."""
        if self.seen:
            self._take(piece)
            return
        self._head += piece
        _, mark, rest = self._head.partition(MARK + b"\n")
        if mark:
            self.seen = True
            if rest:
                self._take(bytes(rest))

    @property
    def kept(self) -> bytes:
        """Return what was kept; all there was if no mark came, for then not our `sh` has spoken."""
        return bytes(self._kept if self.seen else self._head)
