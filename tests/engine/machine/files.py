"""The files of a host, each call for them numbered as those for commands are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from deploykit.files import Copy, File, Stat
from deploykit.transport.local import LocalTransport
from tests.engine.machine.hosts import Machine

__all__ = ["Caller", "WorldFiles"]

T = TypeVar("T")


class Caller(Protocol):
    """What a controller does for each call."""

    def call(
        self, machine: Machine, act: Callable[[float | None], T], *, is_long: bool = False
    ) -> T:
        """Do *act*, unless something befalls the controller at this call."""


class WorldFiles:
    """A host's files, seen from outside of it."""

    def __init__(self, machine: Machine, controller: Caller) -> None:
        self._machine = machine
        self._controller = controller
        self._inner = LocalTransport().files()

    copies = True
    replaces = True

    def look(self, paths: Iterable[str]) -> dict[str, Stat]:
        """See `Files`."""
        return self._each(self._inner.look, paths)

    def names(self, folder: str) -> list[str] | None:
        """See `Files`."""
        return self._call(self._inner.names, folder)

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `Files`."""
        return self._each(self._inner.read, paths)

    def target(self, path: str) -> str | None:
        """See `Files`."""
        return self._call(self._inner.target, path)

    def free(self, path: str) -> int | None:
        """See `Files`."""
        return self._call(self._inner.free, path)

    def mkdir(self, path: str, mode: int) -> bool:
        """See `Files`."""
        return self._call(self._inner.mkdir, path, mode)

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """See `Files`."""

        def pieces(size: int) -> Iterator[bytes]:
            return iter(partial(source.read, size), b"")

        self.write_all([File(path, mode, pieces)], sent or (lambda _size: None))

    def write_all(self, files: Iterable[File], sent: Callable[[int], None]) -> None:
        """See `Files`; what is cut in its middle has written half."""
        for file in files:
            there = self._machine.outside(file.path)
            self._controller.call(
                self._machine,
                partial(self._write, replace(file, path=str(there)), sent),
                is_long=True,
            )

    def _write(self, file: File, sent: Callable[[int], None], within: float | None) -> None:
        self._inner.write_all([file], sent)
        if within is not None:
            there = Path(file.path)
            os.truncate(there, there.stat().st_size // 2)
            raise TimeoutError

    def mkdirs(self, folders: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        for path, mode in folders:
            self._call(lambda there, mode: self._inner.mkdirs([(there, mode)]), path, mode)

    def append(self, path: str, data: bytes, mode: int) -> None:
        """See `Files`."""
        self._call(self._inner.append, path, data, mode)

    def copy_all(self, copies: Iterable[Copy]) -> set[str]:
        """See `Files`."""
        made = set()
        for copy in copies:
            there = replace(copy, source=self._there(copy.source), path=self._there(copy.path))
            if self._controller.call(self._machine, partial(self._copy, there)):
                made.add(copy.path)
        return made

    def _copy(self, copy: Copy, _within: float | None) -> set[str]:
        return self._inner.copy_all([copy])

    def modes(self, modes: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        there = [(self._there(path), mode) for path, mode in modes]
        self._controller.call(self._machine, lambda _: self._inner.modes(there))

    def symlinks(self, links: Iterable[tuple[str, str]]) -> None:
        """See `Files`."""
        there = [(target, str(self._machine.outside(path))) for target, path in links]
        self._controller.call(self._machine, lambda _: self._inner.symlinks(there))

    def rename(self, old: str, new: str) -> None:
        """See `Files`."""
        self._call(self._inner.rename, old, self._there(new))

    def move(self, old: str, new: str) -> bool:
        """See `Files`."""
        return self._call(self._inner.move, old, self._there(new))

    def remove(self, paths: Iterable[str]) -> None:
        """See `Files`."""
        there = [self._there(path) for path in paths]
        self._controller.call(self._machine, lambda _: self._inner.remove(there))

    def rmdir(self, path: str) -> bool:
        """See `Files`."""
        return self._call(self._inner.rmdir, path)

    def _there(self, path: str) -> str:
        return str(self._machine.outside(path))

    def _each(self, act: Callable[[list[str]], dict[str, T]], paths: Iterable[str]) -> dict[str, T]:
        """Do something for all of *paths* in one call; its answers are by those paths."""
        ours = {self._there(path): path for path in paths}
        found = self._controller.call(self._machine, lambda _: act(list(ours)))
        return {ours[path]: one for path, one in found.items()}

    def _call(self, act: Callable[..., T], path: str, *rest: Any) -> T:
        where = self._there(path)
        return self._controller.call(self._machine, lambda _: act(where, *rest))
