"""Placeholder."""

from __future__ import annotations

from typing import Any

__all__ = ["upload"]


def upload(*args: Any) -> None:
    """Not yet."""
    raise NotImplementedError
