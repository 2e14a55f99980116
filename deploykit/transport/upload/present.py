"""What a host has of a tree already: found by its sha256, and copied to where it is wanted."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deploykit.command import Result
from deploykit.release import Entry, Manifest
from deploykit.shell import fill, quote
from deploykit.transport.base import Transport

__all__ = [
    "WITHIN",
    "WORDS",
    "Copies",
    "Earlier",
    "Found",
    "Place",
    "copies",
    "copying",
    "listed",
    "look",
    "printed",
]

WITHIN = 600.0  # seconds that a host may read and copy
WORDS = 200  # paths in one line of a script
SAME, ANOTHER = "=", "-"
MANIFEST = f"""printf '\\0'
if [ "$(sha256sum 2>/dev/null <{{0}})" = {{1}} ]; then printf '{SAME}'
else printf '{ANOTHER}'; cat -- {{0}} 2>/dev/null || :; fi"""
UNPACKS = "command -v gzip >/dev/null && command -v tar >/dev/null"


class Place(Protocol):
    """A connected host with SFTP and a shell."""

    name: str

    @property
    def transport(self) -> Transport:
        """The connection."""

    def query(self, script: str, *, timeout: float = 60.0, check: bool = True) -> Result:
        """Run a script that only looks."""


@dataclass(frozen=True)
class Earlier:
    """
    A tree on the host that may resemble the one to bring.

    Args:
        folder: absolute path.
        manifest: absolute path of what it is said to contain.
    """

    folder: str
    manifest: str

    @property
    def times(self) -> str:
        """Return the file that says when each of its files was changed, if it has been kept."""
        return f"{self.manifest}.times"


@dataclass(frozen=True)
class Copies:
    """
    What is copied on the host.

    Args:
        alike: folders, each with the paths in it that are the same in the new tree.
        moved: new paths, each with the absolute path of what it is copied from.
    """

    alike: Mapping[str, Sequence[str]]
    moved: Mapping[str, str]

    @property
    def paths(self) -> frozenset[str]:
        """Return what will be there, relative to the new tree."""
        return frozenset(self.moved).union(*self.alike.values())


@dataclass(frozen=True)
class Found:
    """
    What was found on a host.

    Args:
        unpacks: by which it unpacks a compressed archive: `gzip`, and `zstd`; or neither.
        there: the sha256 of every regular file beside the folder, by path.
        earlier: what an earlier tree is said to contain.
        same: that is what is wanted.
    """

    unpacks: tuple[str, ...]
    there: Mapping[str, str]
    earlier: tuple[Entry, ...]
    same: bool


def look(place: Place, folder: str, wanted: Manifest, earlier: Earlier | None) -> Found:
    """
    Return what a host has in the folders *folder*`.*`, and in *earlier*, which is not verified.

    Args:
        place: the host.
        folder: absolute path on it.
        wanted: what is to be there; if the earlier manifest is the same, it need not be read.
        earlier: of which the manifest is read.
    """
    above, name = posixpath.split(folder)
    script = (
        f"if {UNPACKS}; then\n"
        "  printf gzip; ! command -v zstd >/dev/null || printf ' zstd'\n"
        "fi; printf '\\0\\0'\n"
        f"if cd -- {quote(above)} 2>/dev/null; then for part in {quote(name)}.*; do\n"
        '  [ ! -d "$part" ] || find "./$part" -type f -exec sha256sum -z {} +\n'
        "done; fi\n"
    )
    if earlier:
        script += fill(MANIFEST, earlier.manifest, f"{wanted.content}  -")
    unpacks, _, rest = place.query(script, timeout=WITHIN).output.partition("\0\0")
    sums, _, manifest = f"\0{rest}".partition("\0\0")
    same = manifest.startswith(SAME)
    return Found(
        tuple(unpacks.split()),
        listed(sums),
        wanted.entries if same else Manifest.claimed(manifest[1:]).entries,
        same,
    )


def copies(
    wanted: Iterable[Entry],
    folder: str,
    there: Mapping[str, str],
    earlier: tuple[str, Iterable[Entry]],
) -> Copies:
    """
    Return what of *wanted* the host can copy.

    Args:
        wanted: files.
        folder: absolute path of the new tree.
        there: what `look` has found beside it.
        earlier: a folder, and what it is said to contain.
    """
    above = posixpath.dirname(folder)
    # What was verified counts before what is only claimed, and the same path before any other.
    found: dict[str, tuple[str, str]] = {}
    same: dict[tuple[str, str], str] = {}
    for root, path, digest in [
        *((earlier[0], entry.path, entry.sha256) for entry in earlier[1] if entry.sha256),
        *((*_beside(above, path), digest) for path, digest in there.items()),
    ]:
        found[digest] = root, path
        same[path, digest] = root
    alike: dict[str, list[str]] = {}
    moved: dict[str, str] = {}
    for entry in wanted:
        if root := same.get((entry.path, entry.sha256), ""):
            alike.setdefault(root, []).append(entry.path)
        elif entry.sha256 in found:
            moved[entry.path] = "/".join(found[entry.sha256])
    return Copies(alike, moved)


def copying(what: Copies) -> list[str]:
    """
    Return a script that copies into the folder in which it runs.

    What cannot be copied is not there afterwards, or is not what was wanted. Nothing is linked:
    whoever writes to a file of one release must not change another.
    """
    lines = ["here=$PWD"]
    for root, paths in what.alike.items():
        copy = 'xargs -0 cp --preserve=timestamps --parents -t "$here" --'
        lines += [fill("(cd -- {} || exit\n{{", root), *printed(paths), f"}} | {copy}) 2>/dev/null"]
    if above := sorted({posixpath.dirname(new) for new in what.moved} - {""}):
        lines.append(fill("mkdir -p -- {}", [f"./{path}" for path in above]))
    for new, old in what.moved.items():
        lines.append(fill("cp --preserve=timestamps -- {} {} 2>/dev/null", old, f"./{new}"))
    return lines


def printed(paths: Sequence[str]) -> Iterator[str]:
    """Give lines that print *paths*, each with a null after it."""
    for at in range(0, len(paths), WORDS):
        yield fill("printf '%s\\0' {}", [f"./{path}" for path in paths[at : at + WORDS]])


def listed(sums: str) -> dict[str, str]:
    """Return what `sha256sum -z` has printed: the sha256 of each path, which is relative."""
    lines = (line for line in sums.split("\0") if line)
    return {line[66:].removeprefix("./"): line[:64] for line in lines}


def _beside(above: str, path: str) -> tuple[str, str]:
    name, _, inside = path.partition("/")
    return f"{above}/{name}", inside
