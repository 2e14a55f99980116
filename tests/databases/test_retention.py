"""Which backups are no longer kept."""

from __future__ import annotations

from deploykit.databases.retention import beyond

DAY = 86400.0
AGES = [("new", 0.5 * DAY), ("mid", 3 * DAY), ("old", 20 * DAY)]


def test_by_number() -> None:
    """A number counts the new backup too."""
    assert beyond(1, AGES) == ("new", "mid", "old")
    assert beyond(3, AGES) == ("old",)
    assert beyond(4, AGES) == ()


def test_by_age() -> None:
    """A time counts from when each was made."""
    assert beyond("14 days", AGES) == ("old",)
    assert beyond("1 day", AGES) == ("mid", "old")
