"""How long backups are kept: by number or by age."""

from __future__ import annotations

from collections.abc import Sequence

from deploykit.durations import seconds

__all__ = ["beyond"]


def beyond(keep: int | str, ages: Sequence[tuple[str, float]]) -> tuple[str, ...]:
    """
    Return which backups are no longer kept once there is one more.

    Args:
        keep: how many, the new one included; or for how long.
        ages: name and age in seconds of those that are there, newest first.
    """
    if isinstance(keep, int):
        return tuple(name for name, _ in ages[keep - 1 :])
    limit = seconds(keep)
    return tuple(name for name, age in ages if age > limit)
