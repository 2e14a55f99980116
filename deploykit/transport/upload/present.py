"""What a host has of a tree already: found by its sha256, and copied to where it is wanted."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deploykit.command import Result
from deploykit.release import Entry, Manifest
from deploykit.shell import fill, quote
from deploykit.transport.base import Transport

__all__ = ["Copies", "Earlier", "Found", "Place", "copied", "copies", "digests", "look"]

WITHIN = 600.0  # seconds that a host may read and copy
WORDS = 200  # paths in one line of a script
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

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self.alike or self.moved)


@dataclass(frozen=True)
class Found:
    """
    What was found on a host.

    Args:
        unpacks: it has the tools for a compressed stream.
        there: the sha256 of every regular file beside the folder, by path.
        earlier: what an earlier tree is said to contain.
    """

    unpacks: bool
    there: Mapping[str, str]
    earlier: tuple[Entry, ...]


def look(place: Place, folder: str, earlier: Earlier | None) -> Found:
    """
    Return what a host has in the folders *folder*`.*`, and in *earlier*, which is not verified.

    Args:
        place: the host.
        folder: absolute path on it.
        earlier: of which the manifest is read.
    """
    above, name = posixpath.split(folder)
    script = (
        f"! {{ {UNPACKS}; }} || printf unpacks\nprintf '\\0\\0'\n"
        f"if cd -- {quote(above)} 2>/dev/null; then for part in {quote(name)}.*; do\n"
        '  [ ! -d "$part" ] || find "./$part" -type f -exec sha256sum -z {} +\n'
        "done; fi\n"
    )
    if earlier:
        script += fill("printf '\\0'\ncat -- {} 2>/dev/null || :", earlier.manifest)
    unpacks, _, rest = place.query(script, timeout=WITHIN).output.partition("\0\0")
    listed, _, manifest = f"\0{rest}".partition("\0\0")
    return Found(bool(unpacks), _parsed(listed), _entries(manifest))


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


def copied(place: Place, what: Copies, folder: str) -> dict[str, str]:
    """
    Copy *what* into *folder*, and return the sha256 of every regular file in that, by path.

    What cannot be copied is not there afterwards, or is not what was wanted. Nothing is linked:
    whoever writes to a file of one release must not change another.
    """
    lines = [fill("mkdir -p -- {0} && cd -- {0} || exit 1", folder)]
    for root, paths in what.alike.items():
        copy = fill("xargs -0 cp --preserve=timestamps --parents -t {} --", folder)
        lines += [fill("(cd -- {} || exit\n{{", root), *_words(paths), f"}} | {copy}) 2>/dev/null"]
    if above := sorted({posixpath.dirname(new) for new in what.moved} - {""}):
        lines.append(fill("mkdir -p -- {}", [f"./{path}" for path in above]))
    for new, old in what.moved.items():
        lines.append(fill("cp --preserve=timestamps -- {} {} 2>/dev/null", old, f"./{new}"))
    # What turns out to be another file has to be written over.
    lines += ["chmod -R u+w .", "find . -type f -exec sha256sum -z {} +"]
    return _parsed(place.query("\n".join(lines), timeout=WITHIN).output)


def digests(place: Place, folder: str, paths: Sequence[str], then: str) -> dict[str, str]:
    """Return the sha256 of those *paths* in *folder* that are there; after that, do *then*."""
    lines = [fill("cd -- {} || exit 1", folder)]
    if paths:
        lines += ["{", *_words(paths), "} | xargs -0 sha256sum -z -- 2>/dev/null"]
    return _parsed(place.query("\n".join([*lines, then]), timeout=WITHIN).output)


def _words(paths: Sequence[str]) -> Iterator[str]:
    """Give lines that print *paths*, each with a null after it."""
    for at in range(0, len(paths), WORDS):
        words = " ".join(quote(f"./{path}") for path in paths[at : at + WORDS])
        yield f"printf '%s\\0' {words}"


def _parsed(listed: str) -> dict[str, str]:
    lines = (line for line in listed.split("\0") if line)
    return {line[66:].removeprefix("./"): line[:64] for line in lines}


def _beside(above: str, path: str) -> tuple[str, str]:
    name, _, inside = path.partition("/")
    return f"{above}/{name}", inside


def _entries(manifest: str) -> tuple[Entry, ...]:
    try:
        entries: tuple[Any, ...] = Manifest.from_json(manifest).entries
    except (json.JSONDecodeError, TypeError):  # then it says nothing of any use
        return ()
    return tuple(entry for entry in entries if isinstance(entry.path, str))
