"""Durations as people write them."""

from __future__ import annotations

import pytest

from deploykit.durations import seconds
from deploykit.errors import ConfigurationError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (30, 30),
        (0.5, 0.5),
        ("90 s", 90),
        ("90s", 90),
        ("5 mins", 300),
        ("1.5 h", 5400),
        ("1 hour", 3600),
        ("14 days", 14 * 86400),
        ("2 WEEKS", 14 * 86400),
        (" 3 m ", 180),
    ],
)
def test_a_duration_is_read(written: float | str, meant: float) -> None:
    """Numbers are seconds; units may be short or long, one or many."""
    assert seconds(written) == meant


@pytest.mark.parametrize(
    "written", ["", "5", "soon", "-3 days", "5 ms", "5 ss", "1 month", "٣ days"]
)
def test_what_is_no_duration_is_refused(written: str) -> None:
    """Milliseconds above all are not taken for minutes."""
    with pytest.raises(ConfigurationError, match="is not a duration"):
        seconds(written)
