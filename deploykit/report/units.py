"""Bytes, seconds and points in time as people read them."""

from __future__ import annotations

from datetime import datetime

__all__ = ["clock", "duration", "size"]

MINUTE = 60
HOUR = 3600
BRIEF = 10  # below this many seconds a decimal says something
STEP = 1000  # as disks and networks are sold


def size(count: float) -> str:
    """
    Return *count* bytes with a unit.

    >>> size(999), size(1_234_567)
    ('999 B', '1.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < STEP:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= STEP
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """
    Return *seconds* in the largest units that matter.

    >>> duration(1.84), duration(75), duration(7260)
    ('1.8 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < BRIEF:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"


def clock(at: str) -> str:
    """Return the local time of day of *at*, an ISO time; *at* itself if it is none."""
    try:
        return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return at
