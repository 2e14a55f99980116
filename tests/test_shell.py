"""Quoting, judged by a real shell."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploykit.shell import fill, quote

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def said(script: str) -> list[str]:
    """Return the NUL-ended words that *script* prints under sh."""
    done = subprocess.run(["/bin/sh", "-e"], input=script.encode(), capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8), WORDS)
def test_a_shell_reads_back_every_word(words: list[str], named: str) -> None:
    """Whatever the words contain, the shell sees just them."""
    assert said(fill("printf '%s\\0' {} {last}", words, last=named)) == [*words, named]


def test_braces_of_the_shell_are_doubled() -> None:
    """A template can hold the shell's own braces."""
    assert said(fill("x={}; printf '%s\\0' \"${{x%% *}}\"", "a b")) == ["a"]


def test_a_leading_dash_stays_a_word() -> None:
    """Quoting does not turn options into words; `--` does, and survives."""
    assert said(fill("printf '%s\\0' -- {}", "-n")) == ["--", "-n"]


def test_what_no_shell_can_carry_is_refused() -> None:
    """A NUL byte would silently end the word."""
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")
