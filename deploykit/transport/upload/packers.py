"""
Compressors, each of which packs a chunk of an archive by itself.

What they make follows one another and unpacks as one: gzip members (RFC 1952 §2.2), zstd frames
(RFC 8878 §3). Python has zlib, and every host that can unpack an archive has gzip; zstd needs half
the time for less, and a fifth of it to unpack, so it is used where both sides have the program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

from deploykit.errors import TransferFailed

__all__ = ["GZIP", "THREADS", "ZSTD", "Member", "Packer", "chosen"]

THREADS = min(2, os.cpu_count() or 1)  # that compress
AGAIN = 8 << 20  # bytes that one of several hosts may be ahead of the next, which gets the same
LEVEL = 1  # of gzip: what a slow link gains by a higher one, a fast one loses several times
WINDOWED = 31  # zlib's name for a gzip member with the largest window
SMALL = 1 << 17  # bytes of a chunk for gzip: four of its windows
LARGE = 1 << 20  # for zstd, which looks back as far, and is a process of its own for each


@dataclass(frozen=True)
class Member:
    """
    A packed chunk.

    Args:
        data: it.
        size: bytes that were packed into it.
        seconds: of a processor that this took.
        deflated: it was compressed as well as is usual.
    """

    data: bytes
    size: int
    seconds: float
    deflated: bool


@dataclass(frozen=True)
class Packer:
    """
    A compressor.

    Args:
        unpack: the host's command for it.
        chunk: bytes that are packed together.
        cost: seconds in which a thread compresses a byte, until that is measured.
        pack: packs a chunk, or does as little to it as it can if the second argument is False; what
            has just gone to another host is remembered.
    """

    unpack: str
    chunk: int
    cost: float
    pack: Callable[[bytes, bool], Member]


@lru_cache(AGAIN // SMALL)
def _gzip(chunk: bytes, deflated: bool) -> Member:
    began = time.thread_time()
    packer = zlib.compressobj(LEVEL if deflated else 0, zlib.DEFLATED, WINDOWED)
    data = packer.compress(chunk) + packer.flush()
    return Member(data, len(chunk), time.thread_time() - began, deflated)


@lru_cache(AGAIN // LARGE)
def _zstd(chunk: bytes, deflated: bool) -> Member:
    try:
        # By way of a file: a pipe would have to be filled while what comes out is read.
        with tempfile.TemporaryFile() as whole:
            whole.write(chunk)
            whole.seek(0)
            data, seconds = _run(["zstd", "-qc", "-3" if deflated else "-1"], whole)
    except OSError as error:
        raise TransferFailed(f"zstd on this machine failed: {error}") from error
    return Member(data, len(chunk), seconds, deflated)


def _run(words: Sequence[str], given: IO[bytes]) -> tuple[bytes, float]:
    """
    Return what a program makes of a file, and the seconds of a processor that it took.

    Raises:
        OSError: it cannot be run, or has failed.
    """
    with subprocess.Popen(
        words,
        stdin=given,
        stdout=subprocess.PIPE,
        process_group=0,  # Ctrl-C at a terminal is for us: what is under way ends in order
    ) as process:
        data = process.stdout.read() if process.stdout else b""
        seconds = _ended(process)
    if process.returncode:
        raise OSError(f"exit {process.returncode}")
    return data, seconds


def _ended(process: subprocess.Popen[bytes]) -> float:
    """Wait for *process*; return the seconds of a processor that it took."""
    if sys.platform == "win32":  # which does not say: as if compressing were for nothing
        process.wait()
        return 0.0
    else:  # noqa: RET505 - mypy leaves out what is of another system only so
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return used.ru_utime + used.ru_stime


GZIP = Packer("gzip -dc", SMALL, 1 / 80e6, _gzip)
ZSTD = Packer("zstd -qdc", LARGE, 1 / 120e6, _zstd)


def chosen(tools: Collection[str]) -> Packer | None:
    """Return the best that this machine, and a host with *tools*, can use; None without any."""
    if "zstd" in tools and shutil.which("zstd"):
        return ZSTD
    return GZIP if "gzip" in tools else None
