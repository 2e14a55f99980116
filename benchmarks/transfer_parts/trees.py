"""The trees that are sent, and what happens to them between two uploads."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["CASES", "PACKAGES", "TREES", "make", "seen"]

# Unpacked about 5,000 files and 100 MB: Python, translations, pictures, shared libraries.
PACKAGES = ("django==5.1.4", "babel==2.16.0", "numpy==2.1.3")
WORDS = b"def class return import self None for in if else value name result error path\n ".split(
    b" "
)


def application(folder: Path, wheels: Path) -> None:
    """Make (a): packages as they are installed."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    for cache in folder.rglob("__pycache__"):  # which no release has, unless it is asked for
        shutil.rmtree(cache)


def tiny(folder: Path, _wheels: Path) -> None:
    """Make (b): 40,000 files of up to 200 bytes in 400 folders."""
    drawn = random.Random(2)
    for number in range(40_000):
        place = folder / str(number % 400)
        place.mkdir(exist_ok=True)
        (place / f"{number}.txt").write_bytes(_text(drawn, drawn.randrange(200)))


def huge(folder: Path, _wheels: Path) -> None:
    """Make (c): one file of 2 GB, of which nothing can be compressed."""
    drawn = random.Random(3)
    with (folder / "huge").open("wb") as stream:
        for _ in range(2_000):
            stream.write(drawn.randbytes(1_000_000))


def middling(folder: Path, _wheels: Path) -> None:
    """Make (d): 300 files of 200 kB, half of them text."""
    drawn = random.Random(4)
    for number in range(300):
        content = drawn.randbytes(200_000) if number % 2 else _text(drawn, 200_000)
        (folder / f"{number}").write_bytes(content)


def _text(drawn: random.Random, size: int) -> bytes:
    return b" ".join(drawn.choices(WORDS, k=size // 4 + 1))[:size]


TREES: dict[str, Callable[[Path, Path], None]] = {
    "a": application,
    "b": tiny,
    "c": huge,
    "d": middling,
}


def nothing(_folder: Path) -> None:
    """Change nothing."""


def some(folder: Path) -> None:
    """Change ten files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in random.Random(5).sample(files, min(10, len(files))):
        with path.open("ab") as stream:
            stream.write(os.urandom(16))


def touched(folder: Path) -> None:
    """Touch every file, as a new checkout does."""
    now = time.time()
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (now, now))


CASES: dict[str, Callable[[Path], None]] = {
    "first": nothing,
    "unchanged": nothing,
    "ten changed": some,
    "touched": touched,
}


def seen(folder: Path) -> set[str]:
    """Return all files and folders of a tree as `find` and `sha256sum` name them."""
    found = set()
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        digest = _digest(path) if path.is_file() else ""
        found.add(f"{mode:o} {digest} {path.relative_to(folder)}")
    return found


def _digest(path: Path) -> str:
    # In pieces: a process counts what its parent once had in memory as its own.
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make(name: str, folder: Path, wheels: Path, *, sample: int = 0) -> tuple[int, int]:
    """Make tree *name* in *folder*, or a *sample*; return how many files and bytes it has."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    TREES[name](folder, wheels)
    if sample:
        _thin(folder, sample)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def _thin(folder: Path, sample: int) -> None:
    """Leave *sample* files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in set(files) - set(random.Random(6).sample(files, min(sample, len(files)))):
        path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
