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
import tempfile
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache

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
        seconds: that this took a thread.
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
    began = time.monotonic()
    try:
        # By way of a file: a pipe would have to be filled while what comes out is read.
        with tempfile.TemporaryFile() as whole:
            whole.write(chunk)
            whole.seek(0)
            done = subprocess.run(
                ["zstd", "-qc", "-3" if deflated else "-1"],
                stdin=whole,
                capture_output=True,
                check=True,
                process_group=0,  # Ctrl-C at a terminal is for us: what is under way ends in order
            )
    except (OSError, subprocess.CalledProcessError) as error:
        raise TransferFailed(f"zstd on this machine failed: {error}") from error
    return Member(done.stdout, len(chunk), time.monotonic() - began, deflated)


GZIP = Packer("gzip -dc", SMALL, 1 / 80e6, _gzip)
ZSTD = Packer("zstd -qdc", LARGE, 1 / 120e6, _zstd)


def chosen(tools: Collection[str]) -> Packer | None:
    """Return the best that this machine, and a host with *tools*, can use; None without any."""
    if "zstd" in tools and shutil.which("zstd"):
        return ZSTD
    return GZIP if "gzip" in tools else None
