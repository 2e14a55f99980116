"""No secret leaves the process, in whichever form it turns up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from deploykit.scrub import Scrubber

VALUES = st.text(
    st.characters(exclude_characters="*\0", exclude_categories=["Cs", "Cc"]), min_size=6
)
AROUND = st.text("abc XYZ-:'\"/\n")
FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "url": lambda value: quote(value, safe=""),
    "form": quote_plus,
    "json": lambda value: json.dumps([value]),
    "json-utf8": lambda value: json.dumps([value], ensure_ascii=False),
    "python": lambda value: repr([value]),
    "shell": shlex.quote,
}


def knowing(*values: str) -> Scrubber:
    """Return a scrubber that knows *values*."""
    scrubber = Scrubber()
    for value in values:
        scrubber.learn(value)
    return scrubber


@given(VALUES, AROUND, AROUND, st.sampled_from(sorted(FORMS)))
def test_a_secret_is_masked_in_every_form(value: str, before: str, after: str, form: str) -> None:
    """As it is, in a URL, in JSON, in a traceback, in a shell's words."""
    assume(value.strip() == value)
    written = FORMS[form](value)
    said = knowing(value).text(before + written + after)
    assert value not in said
    assert written.strip("[]'\"") not in said


@given(st.lists(VALUES, min_size=2, max_size=4), AROUND)
def test_several_secrets_are_masked_together(values: list[str], between: str) -> None:
    """Of secrets that contain one another, the longest goes first."""
    said = knowing(*values, values[0] + values[1]).text(
        between.join([values[0] + values[1], *values])
    )
    assert not [value for value in values if value in said.replace(between, " ")]


def test_the_password_of_a_url_is_the_secret() -> None:
    """Host and database stay readable where the URL stands whole or in parts."""
    scrubber = knowing("postgres://shop:p%40ss@db.example/shop")
    assert scrubber.text("p@ss and p%40ss") == "*** and ***"
    assert scrubber.text("cannot reach db.example/shop") == "cannot reach db.example/shop"


def test_a_key_of_many_lines_is_masked_line_by_line() -> None:
    """Output comes by the line."""
    scrubber = knowing("-----BEGIN-----\nAAAABBBBCCCC\nDDDDEEEEFFFF\n-----END-----")
    assert scrubber.text("stray AAAABBBBCCCC here") == "stray *** here"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("DB_PASSWORD", "hunter2", True),
        ("DATABASE_URL", "postgres://u:hunter2@h/d", True),
        ("SECRET_KEY", "a b", False),
        ("AUTH_ENABLED", "1", False),
        ("USE_TOKENS", "True", False),
        ("TOKEN_TTL", "3600", False),
        ("PORT", "hunter2", False),
        ("API_KEY", "", False),
    ],
)
def test_a_variable_is_secret_by_its_name_or_form(name: str, value: str, secret: bool) -> None:
    """A switch or a number with a telling name does not blot out every other line."""
    scrubber = Scrubber()
    scrubber.learn_variable(name, value)
    text = f"<{value}>"
    assert (scrubber.text(text) != text) is secret


def test_structures_are_scrubbed_through_and_through() -> None:
    """Keys stay; strings in lists and mappings do not keep a secret."""
    said = knowing("hunter2").any({"a": ["x hunter2", 3, None], "b": ({"c": "hunter2"},)})
    assert said == {"a": ["x ***", 3, None], "b": [{"c": "***"}]}
