"""The sh scripts that run on hosts, uploaded by content hash. Nothing else is installed there."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["script"]


@cache
def script(name: str) -> str:
    """Return the text of *name*, such as `runner.sh`."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
