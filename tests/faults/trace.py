"""What programs asked the kernel for that matters to a disk, in the order in which it was done."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Call", "traced"]

WRITES = ("write", "pwrite64", "writev", "copy_file_range")
FLUSHES = ("fsync", "fdatasync")
RENAMES = ("rename", "renameat", "renameat2")
ALL = ("sync", "syncfs")
LINE = re.compile(
    r"(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*?)(?:\) += (-?\d+).*| <unfinished.*)"
)
PATH = re.compile(r'(?:(\w+)<([^>]*)>(?:\(deleted\))?|("(?:[^"\\]|\\.)*"))')


@dataclass(frozen=True)
class Call:
    """
    A system call that has succeeded.

    Args:
        kind: `write`, `flush`, `rename` or `answer`, the last being a line of the runner's.
        path: what was written or flushed, or the old name; `*` for everything.
        to: the new name.
    """

    kind: str
    path: str
    to: str = ""


def traced(command: Sequence[str], file: Path, cwd: Path) -> list[Call]:
    """Run *command*, and return what it and all its children did; *file* keeps the trace."""
    names = ",".join((*WRITES, *FLUSHES, *RENAMES, *ALL))
    strace = ["strace", "-f", "-y", "-s", "64", "--seccomp-bpf", "-e", f"trace={names}"]
    done = subprocess.run(
        [*strace, "-o", str(file), *command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(_calls(file.read_text(errors="replace").splitlines()))


def _calls(lines: Iterable[str]) -> Iterable[Call]:
    """Yield the calls of a trace; one that was interrupted stands where it ended."""
    begun: dict[str, str] = {}
    for line in lines:
        found = LINE.match(line)
        if not found:
            continue
        pid, name, arguments, result = found.groups()
        if result is None:
            begun[pid] = arguments
        elif not result.startswith("-"):
            made = _call(name, begun.pop(pid, "") + arguments)
            if made:
                yield made


def _call(name: str, arguments: str) -> Call | None:
    if name in ALL:
        return Call("flush", "*")
    words = [(at, text) for _, at, text in PATH.findall(arguments)]
    if name in RENAMES:
        return Call("rename", *_names(words))
    path = words[0][0] if words else ""
    if name in FLUSHES:
        return Call("flush", path)
    if r"\1deploykit " in arguments:
        return Call("answer", arguments)
    return Call("write", path) if path.startswith("/") else None


def _names(words: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Return both names of a rename, absolute where the trace tells the folder."""
    folder, names = "", []
    for at, text in words:
        if at:
            folder = at
        else:
            names.append(str(Path(folder or "/") / ast.literal_eval(text)))
    old, new = names
    return old, new
