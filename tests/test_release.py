"""Manifests and the ledger of releases."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deploykit.engine.journal import parse
from deploykit.release import Entry, Ledger, Manifest

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
ENTRIES = st.builds(
    Entry,
    path=NAMES,
    kind=st.sampled_from(["file", "dir", "link"]),
    mode=st.integers(0, 0o7777),
    size=st.integers(0, 1 << 40),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    target=NAMES,
)
LINES = st.lists(
    st.tuples(
        st.sampled_from(["r1", "r2", "r3"]),
        st.sampled_from(["building", "good", "bad"]),
        st.booleans(),
    )
)


def line(release: str, state: str, rejected: bool, at: str = "") -> dict[str, Any]:
    """Return a record of the ledger, with the keys that the host puts before it."""
    known = {"id": release, "content": f"content of {release}", "state": state, "run": "run"}
    return {"v": 1, "seq": 1, "at": at, **known, "rejected": rejected}


@given(st.lists(ENTRIES, unique_by=lambda entry: entry.path))
def test_a_manifest_is_read_back(entries: list[Entry]) -> None:
    """Names may hold anything, above all line ends that only Unicode knows."""
    manifest = Manifest(tuple(sorted(entries, key=lambda entry: entry.path)))
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(st.permutations([Entry("a", "dir"), Entry("b", "file"), Entry("c", "link")]))
def test_content_is_named_the_same_in_any_order(entries: list[Entry]) -> None:
    """How the folder was read is no part of what it holds."""
    expected = Manifest((Entry("a", "dir"), Entry("b", "file"), Entry("c", "link"))).content
    assert Manifest(tuple(entries)).content == expected


def test_content_depends_on_modes_and_bytes() -> None:
    """A script that became executable is another release."""
    plain = Manifest((Entry("a", "file", 0o644, 1, "x"),))
    assert plain.content != Manifest((Entry("a", "file", 0o755, 1, "x"),)).content
    assert plain.content != Manifest((Entry("a", "file", 0o644, 1, "y"),)).content


@given(LINES)
def test_a_ledger_holds_each_release_once_with_its_last_state(
    lines: list[tuple[str, str, bool]],
) -> None:
    """In the order in which they were begun."""
    ledger = Ledger.of([line(*of) for of in lines])
    assert [known.id for known in ledger.lines] == list(dict.fromkeys(of[0] for of in lines))
    last = {release: (state, rejected) for release, state, rejected in lines}
    assert {known.id: (known.state, known.rejected) for known in ledger.lines} == last


@given(LINES, st.data())
def test_a_torn_line_costs_that_line_only(
    lines: list[tuple[str, str, bool]], data: st.DataObject
) -> None:
    """A ledger that lost the end of its last line is the ledger before that line."""
    text = "".join(json.dumps(line(*of)) + "\n" for of in lines)
    cut = data.draw(st.integers(0, len(text)))
    whole = text[:cut].count("\n")
    if text[cut : cut + 1] == "\n":  # only the line's end is missing
        whole += 1
    assert Ledger.of(parse(text[:cut])) == Ledger.of([line(*of) for of in lines[:whole]])


def test_a_release_keeps_the_time_of_its_beginning() -> None:
    """Later states do not make it younger."""
    ledger = Ledger.of([line("r1", "building", False, "2026"), line("r1", "good", False, "2027")])
    assert ledger.lines[0].at == "2026"


def test_rejected_content_is_known_until_it_is_accepted() -> None:
    """A later good release of the same content takes the rejection back."""
    bad, again = line("r1", "bad", True), line("r2", "good", False) | {"content": "content of r1"}
    assert Ledger.of([bad]).rejected("content of r1") is not None
    assert Ledger.of([bad]).rejected("content of r2") is None
    assert Ledger.of([bad, again]).rejected("content of r1") is None
    building = again | {"state": "building"}
    assert Ledger.of([bad, building]).rejected("content of r1") is not None


def test_good_releases_are_listed_oldest_first() -> None:
    """Bad and half-made ones are no way back."""
    lines = [line("r1", "good", False), line("r2", "bad", False), line("r3", "good", False)]
    ledger = Ledger.of(lines)
    assert [known.id for known in ledger.good()] == ["r1", "r3"]
    assert ledger.find("r2") is not None
    assert ledger.find("r9") is None
