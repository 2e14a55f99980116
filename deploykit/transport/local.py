"""This machine as a host, without SSH: for tests of the engine, and for speed there."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from typing import IO, BinaryIO

from deploykit.errors import LinkLost
from deploykit.processes import end_group
from deploykit.transport.base import Completed
from deploykit.transport.boot import BOOT, AfterMark, message
from deploykit.transport.local_files import LocalFiles

__all__ = ["LocalTransport"]

PIECE = 1 << 16
TO_END = 2.0  # seconds that a command has to end when it is told to


class LocalHeld:
    """A process with its input left open."""

    def __init__(self, command: str) -> None:
        self._process = _start(subprocess.DEVNULL)
        self._send(message(command))

    def beat(self) -> None:
        """See `Held`."""
        self._send(b"\n")

    def close(self) -> None:
        """See `Held`."""
        with suppress(BrokenPipeError):
            if self._process.stdin:
                self._process.stdin.close()
        self._process.wait()

    def _send(self, line: bytes) -> None:
        if not self._process.stdin or self._process.poll() is not None:
            raise LinkLost("what was held on this machine has ended")
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise LinkLost("what was held on this machine has ended") from error


class LocalTransport:
    """Runs commands by `sh` on this machine, as the user who runs Python."""

    def execute(
        self,
        command: str,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `Transport`."""
        return self._run([message(command, stdin)], timeout, on_output)

    def feed(self, command: str, pieces: Iterable[bytes]) -> Completed:
        """See `Transport`."""
        return self._run(chain([message(command)], pieces))

    def _run(
        self,
        pieces: Iterable[bytes],
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        with _start(subprocess.PIPE) as process:
            if not (process.stdin and process.stdout and process.stderr):
                raise RuntimeError("a pipe that was asked for is missing")
            out, err = AfterMark(on_output), AfterMark()
            threads = [
                threading.Thread(target=_pump, args=(process.stdout, out)),
                threading.Thread(target=_pump, args=(process.stderr, err)),
            ]
            for thread in threads:
                thread.start()
            try:
                _write(process.stdin, pieces)
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                # Its children hold the pipes, too. The runner of a command, which ignores this, has
                # yet to write down how the command is stopped.
                end_group(process)
                threads[0].join(TO_END)
                if any(thread.is_alive() for thread in threads):
                    end_group(process, at_once=True)
                raise TimeoutError from None
            finally:
                for thread in threads:
                    thread.join()
        return Completed(code, out.kept, err.kept)

    def hold(self, command: str) -> LocalHeld:
        """See `Transport`."""
        return LocalHeld(command)

    def files(self, *, apart: bool = False) -> LocalFiles:  # noqa: ARG002  # no channel is shared
        """See `Transport`."""
        return LocalFiles()

    def close(self) -> None:
        """Nothing is open."""


def _start(output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", BOOT],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _write(stream: IO[bytes], pieces: Iterable[bytes]) -> None:
    try:
        for piece in pieces:
            stream.write(piece)
    except BrokenPipeError:
        pass  # the command did not read all of it, which is its own affair
    finally:
        with suppress(BrokenPipeError):
            stream.close()


def _pump(stream: BinaryIO, take: Callable[[bytes], object]) -> None:
    while piece := stream.read1(PIECE):  # type: ignore[attr-defined]  # pipes are buffered readers
        take(piece)
