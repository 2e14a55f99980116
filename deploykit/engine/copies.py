"""
The copies of journals on the operator's machine: to look at when a host is gone, and for no more.

The hosts are the truth: nothing is ever resumed or undone from a copy, and a journal that is read
from its host replaces the copy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from deploykit.engine.journal import History, Record, parse

__all__ = ["file_name", "folder_of", "keep", "kept"]

KEEP = 200  # runs an environment
NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def folder_of(environment: str) -> Path:
    """Return the folder of *environment*'s copies, in the user's state directory."""
    from platformdirs import user_state_path  # only a run needs it

    return user_state_path("deploykit", appauthor=False) / "journals" / file_name(environment)


def keep(environment: str, found: History) -> None:
    """
    Copy a journal as its hosts have it, for its owner alone; the oldest copies go.

    A copy that cannot be written is no reason to stop a deploy.
    """
    folder = folder_of(environment) / file_name(found.run)
    try:
        if not folder.exists():
            _make_room(folder.parent)
            folder.mkdir(mode=0o700, parents=True)
        for host, records in found.records.items():
            if records:
                _write(folder / f"{file_name(host)}.jsonl", records)
    except OSError:
        return


def kept(environment: str) -> list[History]:
    """Return the runs of *environment* that there are copies of, newest first."""
    folders = sorted(folder_of(environment).glob("*"), reverse=True)
    found = []
    for folder in folders:
        records = {path.stem: tuple(parse(_text(path))) for path in sorted(folder.glob("*.jsonl"))}
        found.append(History(folder.name, records))
    return [run for run in found if run.opening is not None]


def _write(path: Path, records: Iterable[Record]) -> None:
    """Replace *path* by one rename: a copy is whole, or the one before."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    part.replace(path)


def _make_room(folder: Path) -> None:
    """Let the oldest copies go: run ids begin with the time, and that is good enough here."""
    for old in sorted(folder.glob("*"))[: -KEEP + 1]:
        shutil.rmtree(old, ignore_errors=True)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def file_name(name: str) -> str:
    """Return *name* as one part of a path, whatever it is made of."""
    return NAME.sub("-", name).lstrip(".") or "-"
