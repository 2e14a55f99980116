"""Durations as people write them: `30`, `"90 s"`, `"14 days"`."""

from __future__ import annotations

import re

from deploykit.errors import ConfigurationError

__all__ = ["seconds"]

UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60}
UNITS |= {"h": 3600, "hour": 3600, "d": 86400, "day": 86400, "w": 604800, "week": 604800}


def seconds(duration: float | str) -> float:
    """
    Return *duration* in seconds.

    Raises:
        ConfigurationError: it is not a duration.
    """
    if isinstance(duration, int | float):
        return float(duration)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", duration.lower(), re.ASCII)
    unit = match[2] if match else ""
    if len(unit) > 2:  # "5 ms" is not five minutes
        unit = unit.removesuffix("s")
    if match is None or unit not in UNITS:
        raise ConfigurationError(f"{duration!r} is not a duration such as '14 days' or '90 s'")
    return float(match[1]) * UNITS[unit]
