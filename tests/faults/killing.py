"""A transport whose controller is killed at one chosen effect: before, within or after it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, Literal, NoReturn, TypeVar

from deploykit.files import Copy, File, Files, Stat
from deploykit.transport.base import Completed, Held, Transport
from deploykit.transport.boot import message
from deploykit.transport.ssh import SSHTransport

__all__ = ["MODES", "Effects", "Kill", "KillingTransport", "Mode", "effect_name"]

T = TypeVar("T")
Mode = Literal["before", "cut", "sent", "after"]
MODES: Mapping[str, tuple[Mode, ...]] = {
    "call": ("before", "cut", "sent", "after"),
    "hold": ("before", "cut", "sent", "after"),
    "piece": ("before", "cut", "after"),
    "file": ("before", "after"),
}
"""
What can be done to each sort of effect.

`before` it was sent; `cut`: only a part of it was sent; `sent`: all of it was, and the answer was
not read; `after` its answer was read, and before anything came of that.
"""

SCRIPTS = {
    b"\ndk_start\n": "start guardian",
    b"/.deploykit/manifests || exit": "prepare",
    b" -exec chmod ": "finish the upload",
}
"""Scripts that change something although they are sent as queries are, by what only they hold."""

ANONYMOUS = {
    re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}"): "ID",
    re.compile(r"[0-9a-f]{16}-\d+\.part"): "FILE.part",
    re.compile(r"/\.ID\.part\.\d+"): "/ID",
    re.compile(r"/srv/shop/(\.deploykit/)?"): "",
}
PIECE = 1 << 15


@dataclass(frozen=True)
class Kill:
    """
    When a controller is killed.

    Args:
        effect: which of its effects, from 1 on; 0 for none.
        mode: when in it.
        seed: of where a message is cut, and of how long to wait before the kill.
        slowest: seconds that are waited at most between the sending and the kill.
    """

    effect: int = 0
    mode: Mode = "before"
    seed: int = 0
    slowest: float = 0.06


class Effects:
    """
    Counts the effects of a controller, writes each to a log, and kills the controller at one.

    Args:
        log: a file; a line of JSON is on it before its effect is begun.
        kill: when.
    """

    def __init__(self, log: Path, kill: Kill) -> None:
        self.kill = kill
        self.random = Random(kill.seed)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()
        self._count = 0

    def note(self, **keys: Any) -> None:
        """Write a line to the log."""
        line = {"at": round(time.monotonic(), 3), **keys}
        os.write(self._log, json.dumps(line).encode() + b"\n")

    def reached(self, name: str, sort: str) -> bool:
        """Count an effect; return whether it is the one within or after which to kill."""
        with self._lock:
            self._count += 1
            self.note(effect=self._count, name=name, sort=sort)
            chosen = self._count == self.kill.effect
            if chosen and (self.kill.mode == "before" or self.kill.mode not in MODES[sort]):
                self.die()
        return chosen

    def piece(self, name: str, piece: bytes, doomed: list[str]) -> bytes:
        """Count a piece; return what is sent of it, and let *doomed* say if it is the last one."""
        if not self.reached(name, "piece"):
            return piece
        doomed.append(name)
        if self.kill.mode == "cut":
            return piece[: self.random.randrange(len(piece))] or piece[:1]
        return piece

    def wait(self) -> None:
        """Wait a little, and not always equally long, before the kill."""
        time.sleep(self.random.uniform(0, self.kill.slowest))

    def die(self) -> NoReturn:
        """End this process as a power cut of the operator's machine would, but for its kernel."""
        self.note(killed=self._count, mode=self.kill.mode)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


class KillingTransport:
    """An SSH connection that counts what changes something on the host, and dies in one of it."""

    def __init__(self, inner: SSHTransport, effects: Effects) -> None:
        self._inner = inner
        self._effects = effects

    def execute(
        self,
        command: str,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `Transport`."""
        name = effect_name(command, stdin)
        if not name or not self._effects.reached(name, "call"):
            return self._inner.execute(command, stdin, timeout=timeout, on_output=on_output)
        if self._effects.kill.mode == "after":
            self._inner.execute(command, stdin, timeout=timeout, on_output=on_output)
        else:
            self._send(message(command, stdin))
        return self._effects.die()

    def feed(self, command: str, pieces: Iterable[bytes]) -> Completed:
        """See `Transport`."""
        doomed: list[str] = []

        def counted() -> Iterator[bytes]:
            for number, piece in enumerate(pieces, 1):
                if doomed:
                    self._effects.wait()
                    self._effects.die()
                yield self._effects.piece(f"piece {number} of the upload", piece, doomed)

        done = self._inner.feed(command, counted())
        if doomed:
            self._effects.die()
        return done

    def hold(self, command: str) -> Held:
        """See `Transport`."""
        name = effect_name(command, b"")
        if not self._effects.reached(name, "hold"):
            return self._inner.hold(command)
        if self._effects.kill.mode == "after":
            self._inner.hold(command)
            self._effects.wait()
        else:
            self._send(message(command), end=False)
        return self._effects.die()

    def files(self, *, apart: bool = False) -> Files:
        """See `Transport`."""
        return KillingFiles(self._inner.files(apart=apart), self._effects)

    def close(self) -> None:
        """See `Transport`."""
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _send(self, text: bytes, *, end: bool = True) -> None:
        """Send *text*, or a part of it, and do not wait for what comes of it."""
        effects = self._effects
        channel = self._inner.shell().channel
        if effects.kill.mode == "cut":
            channel.sendall(text[: effects.random.randrange(len(text))])
        else:
            channel.sendall(text)
            if end:
                channel.shutdown_write()
        effects.wait()


class KillingFiles:
    """SFTP of which every piece is an effect."""

    def __init__(self, inner: Files, effects: Effects) -> None:
        self._inner = inner
        self._effects = effects

    @property
    def copies(self) -> bool:
        """See `Files`."""
        return self._inner.copies

    @property
    def replaces(self) -> bool:
        """See `Files`."""
        return self._inner.replaces

    def look(self, paths: Iterable[str]) -> dict[str, Stat]:
        """See `Files`."""
        return self._inner.look(paths)

    def names(self, folder: str) -> list[str] | None:
        """See `Files`."""
        return self._inner.names(folder)

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `Files`."""
        return self._inner.read(paths)

    def target(self, path: str) -> str | None:
        """See `Files`."""
        return self._inner.target(path)

    def free(self, path: str) -> int | None:
        """See `Files`."""
        return self._inner.free(path)

    def mkdir(self, path: str, mode: int) -> bool:
        """See `Files`."""
        return self._do(f"mkdir {path}", lambda: self._inner.mkdir(path, mode))

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """See `Files`."""
        file = File(path, mode, lambda size: iter(partial(source.read, size), b""))
        self.write_all([file], sent or (lambda _size: None))

    def write_all(self, files: Iterable[File], sent: Callable[[int], None]) -> None:
        """See `Files`."""
        doomed: list[str] = []

        def counted(file: File) -> File:
            def pieces(size: int) -> Iterator[bytes]:
                for number, piece in enumerate(file.pieces(size), 1):
                    if doomed:  # of this or another file, and under way by now
                        self._effects.wait()
                        self._effects.die()
                    name = f"piece {number} of {anonymous(file.path)}"
                    yield self._effects.piece(name, piece, doomed)

            return replace(file, pieces=pieces)

        self._inner.write_all(map(counted, files), sent)
        if doomed:
            self._effects.die()

    def mkdirs(self, folders: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        for path, mode in folders:
            self._do(f"mkdir {path}", partial(self._inner.mkdirs, [(path, mode)]))

    def append(self, path: str, data: bytes, mode: int) -> None:
        """See `Files`."""
        self._do(f"append to {path}", lambda: self._inner.append(path, data, mode))

    def copy_all(self, copies: Iterable[Copy]) -> set[str]:
        """See `Files`."""
        made: set[str] = set()
        for copy in copies:
            made |= self._do(f"copy to {copy.path}", partial(self._inner.copy_all, [copy]))
        return made

    def modes(self, modes: Iterable[tuple[str, int]]) -> None:
        """See `Files`."""
        for path, mode in modes:
            self._do(f"chmod {path}", partial(self._inner.modes, [(path, mode)]))

    def symlinks(self, links: Iterable[tuple[str, str]]) -> None:
        """See `Files`."""
        for target, path in links:
            self._do(f"symlink {path}", partial(self._inner.symlinks, [(target, path)]))

    def rename(self, old: str, new: str) -> None:
        """See `Files`."""
        self._do(f"rename {new}", lambda: self._inner.rename(old, new))

    def move(self, old: str, new: str) -> bool:
        """See `Files`."""
        return self._do(f"move {new}", lambda: self._inner.move(old, new))

    def remove(self, paths: Iterable[str]) -> None:
        """See `Files`."""
        for path in paths:
            self._do(f"remove {path}", partial(self._inner.remove, [path]))

    def rmdir(self, path: str) -> bool:
        """See `Files`."""
        return self._do(f"rmdir {path}", lambda: self._inner.rmdir(path))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _do(self, name: str, act: Callable[[], T]) -> T:
        chosen = self._effects.reached(anonymous(name), "file")
        done = act()
        if chosen:
            self._effects.die()
        return done


def effect_name(command: str, stdin: bytes) -> str:
    """Return what *command* does, without what differs from run to run; empty for a query."""
    if command.startswith('eval "$(cat)"'):
        return next((name for sign, name in SCRIPTS.items() if sign in stdin), "")
    runner, _, call = command.rpartition("; exec sh ")
    if not runner:
        return anonymous(command)[:80]
    _, _, verb, *arguments = shlex.split(call)
    records = _records(stdin)
    if verb == "append":
        verb = " ".join(["append", *_summary(records)])
    elif verb == "exec" and records:
        verb = "exec {stage} {direction} {key}".format_map(records[0])
    elif verb == "settle":
        verb = f"settle {arguments[-2]}"
    elif verb == "stop":
        verb = f"stop {arguments[1]}"
    return anonymous(verb)


def _summary(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the words by which *records* are known, each once."""
    kinds = dict.fromkeys(str(record.get("kind", "ledger")) for record in records)
    yield "+".join(kinds)
    keys = dict.fromkeys(str(record.get("stage", record.get("state", ""))) for record in records)
    yield from (key for key in keys if len(keys) == 1 and key)


def anonymous(text: str) -> str:
    """Return *text* without ids, epochs and the root, which differ from run to run."""
    for pattern, name in ANONYMOUS.items():
        text = pattern.sub(name, text)
    return text


def _records(stdin: bytes) -> list[dict[str, Any]]:
    """Return the JSON objects among the lines of a sealed message."""
    found = []
    for line in stdin.split(b"\n")[1:]:
        try:
            record = json.loads(line.removeprefix(b"#"))  # a script's record is a comment in it
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found


def wrap(transport: Transport, effects: Effects) -> Transport:
    """Return *transport*, which is an SSH connection, wrapped."""
    assert isinstance(transport, SSHTransport)
    return KillingTransport(transport, effects)
