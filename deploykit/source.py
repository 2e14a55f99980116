"""Reading a source tree: what of it is sent, and what may not be."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

from deploykit.errors import ConfigurationError
from deploykit.release import Entry, Manifest

__all__ = ["EXCLUDED", "IGNORE_FILE", "read_tree"]

IGNORE_FILE = ".deployignore"
# Nothing is guessed from other names (DESIGN: "Excluded by default").
EXCLUDED = (
    ".git",
    ".env*",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "node_modules",
    "*.sqlite3*",
)
PIECE = 1 << 20


def read_tree(source: Path, exclude: Iterable[str] = ()) -> Manifest:
    """
    List and hash everything under *source* that is to be sent.

    Args:
        source: a folder.
        exclude: more patterns in gitignore syntax, beside `EXCLUDED` and the folder's
            `.deployignore`; later patterns win, so `!name` brings something back.

    Raises:
        ConfigurationError: no such folder, nothing in it, or something that cannot be sent.
    """
    if not source.is_dir():
        raise ConfigurationError(f"the source {str(source)!r} is not a folder")
    try:
        entries = tuple(_walk(source, PurePosixPath(), _ignored(source, exclude)))
    except OSError as error:
        raise ConfigurationError(f"{error.filename or source}: {error.strerror}") from error
    if not any(entry.kind != "dir" for entry in entries):
        raise ConfigurationError(
            f"the source {str(source)!r} has nothing to send",
            state="nothing was touched",
            then="is it the right folder, and has it been built?",
        )
    return Manifest(entries)


def _ignored(source: Path, exclude: Iterable[str]) -> GitIgnoreSpec:
    ignore = source / IGNORE_FILE
    try:
        own = ignore.read_text(encoding="utf-8").split("\n") if ignore.is_file() else []
        return GitIgnoreSpec.from_lines([*EXCLUDED, *own, *exclude])
    except ValueError as error:  # a pattern that is none, or a file that is not UTF-8
        raise ConfigurationError(f"exclude= or {ignore}: {error}") from error


def _walk(source: Path, folder: PurePosixPath, ignored: GitIgnoreSpec) -> Iterator[Entry]:
    for item in sorted(os.scandir(source / folder), key=lambda item: item.name):
        path = folder / item.name
        is_dir = item.is_dir(follow_symlinks=False)
        if ignored.match_file(f"{path}/" if is_dir else str(path)):
            continue
        _check_name(source, path)
        if item.is_symlink():
            yield _link(source, path)
        elif is_dir:
            if (source / path / "pyvenv.cfg").exists():
                continue  # a virtual environment of this machine
            mode = stat.S_IMODE(item.stat(follow_symlinks=False).st_mode)
            yield Entry(str(path), "dir", mode)
            yield from _walk(source, path, ignored)
        else:
            yield _file(source, path)


def _check_name(source: Path, path: PurePosixPath) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{source}: {str(path)!r} is not valid UTF-8; rename or exclude it"
        ) from None


def _link(source: Path, path: PurePosixPath) -> Entry:
    target = str((source / path).readlink())
    # Not Path.resolve, which raises RuntimeError for a link that leads to itself.
    resolved = Path(os.path.realpath(source / path.parent / target))
    if target.startswith("/") or not resolved.is_relative_to(source.resolve()):
        raise ConfigurationError(
            f"{source / path} links out of the source, to {target!r}",
            state="nothing was touched",
            then=f"exclude it (a line in {IGNORE_FILE}), or bring what it points to inside",
        )
    return Entry(str(path), "link", 0o777, target=target)


def _file(source: Path, path: PurePosixPath) -> Entry:
    local = source / path
    try:
        found = local.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(
                f"{local} is neither file, folder nor link; exclude it (a line in {IGNORE_FILE})"
            )
        digest = hashlib.sha256()
        with local.open("rb") as stream:
            size = 0
            while piece := stream.read(PIECE):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise ConfigurationError(f"{local} cannot be read: {error.strerror}") from error
    return Entry(str(path), "file", stat.S_IMODE(found.st_mode), size, digest.hexdigest())
