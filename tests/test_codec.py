"""What a journal holds comes back as it was, whatever it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit import codec
from deploykit.errors import JournalError
from deploykit.secrets import Secret


@dataclass(frozen=True)
class Leaf:
    """A plan with one of each kind of value."""

    text: str = ""
    number: int = 0
    share: float = 0.0
    on: bool = False
    nothing: None = None


@dataclass(frozen=True)
class Tree:
    """A plan with values in values."""

    leaves: tuple[Leaf, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    hidden: str = field(default="", metadata={"journal": False})

    @dataclass(frozen=True)
    class Inner:
        """A class in a class."""

        text: str = ""


LEAVES = st.builds(
    Leaf,
    text=st.text(),
    number=st.integers(),
    share=st.floats(allow_nan=False),
    on=st.booleans(),
)
TREES = st.builds(
    Tree, leaves=st.lists(LEAVES).map(tuple), names=st.dictionaries(st.text(), st.text())
)


@given(TREES)
def test_a_plan_comes_back_as_it_was(tree: Tree) -> None:
    """Encoding, JSON and decoding together change nothing."""
    written = json.dumps(codec.encode(tree), ensure_ascii=False)
    assert codec.decode(json.loads(written)) == tree


def test_a_list_comes_back_as_a_tuple() -> None:
    """Plans are immutable, so there is one kind of sequence in them."""
    assert codec.decode(codec.encode([1, (2, [3])])) == (1, (2, (3,)))


def test_a_class_in_a_class_is_found_again() -> None:
    """A qualified name with dots leads to the class."""
    assert codec.decode(codec.encode(Tree.Inner("x"))) == Tree.Inner("x")


def test_a_field_that_is_not_for_the_journal_stays_out() -> None:
    """A secret's value is nowhere in what is written, and is empty when it comes back."""
    encoded = codec.encode([Tree(hidden="hunter2"), Secret.literal("hunter2")])
    assert "hunter2" not in json.dumps(encoded)
    assert codec.decode(encoded)[0].hidden == ""


def test_a_mapping_with_the_codec_s_own_words_is_a_mapping() -> None:
    """Keys named like the codec's own do not confuse it."""
    tree = Tree(names={"type": "os:system", "fields": "x", "map": "y"})
    assert codec.decode(codec.encode(tree)) == tree


def test_what_a_journal_cannot_hold_is_named() -> None:
    """A plan with bytes in it fails when it is made, not when it is needed."""
    with pytest.raises(TypeError, match=r"cannot hold bytes: b'x'"):
        codec.encode([b"x"])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("no.such.module:Thing", "cannot be imported here"),
        ("tests.test_codec:Gone", "cannot be imported here"),
        ("os:system", "not a stage, plan or value"),
        ("deploykit.errors:DeploykitError", "not a stage, plan or value"),
    ],
)
def test_what_is_not_a_value_is_refused(kind: str, said: str) -> None:
    """A journal can name any function, and only dataclasses are ever called."""
    with pytest.raises(JournalError, match=said) as refused:
        codec.decode({"type": kind, "fields": {}})
    assert refused.value.exit_code == 5


def test_a_class_that_has_changed_is_said_so() -> None:
    """Fields that the class no longer has lead to the version that made the run."""
    path = f"{Leaf.__module__}:Leaf"
    with pytest.raises(JournalError, match="does not fit") as refused:
        codec.decode({"type": path, "fields": {"colour": "red"}})
    assert "version" in refused.value.then
