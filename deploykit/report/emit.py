"""Writes to streams whose reader may go away: a deploy does not stop because nobody listens."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TextIO

__all__ = ["emit", "silence"]


def emit(stream: TextIO, text: str) -> None:
    """Write *text* at once; if nobody can read it (a closed pipe, a lost terminal), go silent."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        silence(stream)


def silence(stream: TextIO) -> None:
    """
    Let everything written to *stream* vanish from now on.

    What is still in its buffer goes too, so that the interpreter does not fail over it at its end.
    """
    with suppress(OSError, ValueError):  # a stream without a file has nothing to be silenced
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
