"""Pipelines as values: what is wrong shows before the first connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from deploykit import Pipeline
from deploykit.errors import ConfigurationError
from deploykit.stage import Acting, Planning
from deploykit.stages import Install, Shell, Transfer


@dataclass(frozen=True)
class Services:
    """A stage that stops or starts services, as far as a pipeline can tell."""

    name: str
    pauses: Sequence[str] = ()
    starts: Sequence[str] = ()

    def plan(self, ctx: Planning) -> None:
        """Nothing to plan."""

    def apply(self, ctx: Acting, plan: None) -> None:
        """Nothing to do."""

    def undo(self, ctx: Acting, plan: None) -> None:
        """Nothing to undo."""


def shop(*stages: Any, **options: Any) -> Pipeline:
    """Return a pipeline of *stages*."""
    return Pipeline(**{"app": "shop", "root": "/srv/shop", "stages": stages, **options})


def test_stages_of_one_kind_are_numbered() -> None:
    """Default names are made unique; the first keeps the plain one."""
    pipeline = shop(Install("a"), Transfer("."), Install("b"), Install("c"))
    assert list(pipeline.by_name) == ["install", "transfer", "install-2", "install-3"]
    assert [stage.name for stage in pipeline.stages] == list(pipeline.by_name)


def test_two_stages_of_one_own_name_are_refused() -> None:
    """A name keys the journal; nobody but its author may choose another."""
    with pytest.raises(ConfigurationError, match="two stages are named 'mark'"):
        shop(Shell("mark", do="a"), Shell("mark", do="b"))


def test_a_number_that_is_taken_is_refused() -> None:
    """Numbering does not run into a name of one's own."""
    with pytest.raises(ConfigurationError, match="two stages are named 'install-2'"):
        shop(Install("a"), Install("b"), Shell("install-2", do="c"))


@pytest.mark.parametrize("name", ["a b", "a/b", "", "a\nb"])
def test_a_name_that_no_file_could_have_is_refused(name: str) -> None:
    """Names end up in file names and tables."""
    with pytest.raises(ConfigurationError, match="is not a stage's name"):
        shop(Shell(name, do="a"))


@pytest.mark.parametrize("thing", [Transfer, "transfer", object()])
def test_what_is_no_stage_is_refused(thing: object) -> None:
    """A class instead of a value is the usual mistake."""
    with pytest.raises(ConfigurationError, match="is not a stage"):
        shop(thing)


@pytest.mark.parametrize("root", ["", "srv/shop", "/", "//", "/srv\n/shop"])
def test_a_root_that_is_none_is_refused(root: str) -> None:
    """Everything is made and removed below it, so it is absolute and not `/` itself."""
    with pytest.raises(ConfigurationError, match="root="):
        shop(root=root)


@pytest.mark.parametrize("app", ["", "my shop", "../shop", "-shop", "shop\n"])
def test_an_application_s_name_is_checked(app: str) -> None:
    """It is a word that any file can be named after."""
    with pytest.raises(ConfigurationError, match="app="):
        shop(app=app)


def test_a_path_as_a_word_is_refused() -> None:
    """`path="bin"` would be the folders b, i and n."""
    with pytest.raises(ConfigurationError, match="a list of folders"):
        shop(path="bin")


def test_a_root_ends_without_a_slash() -> None:
    """Paths under it are made by joining."""
    assert shop(root="/srv/shop//").root == "/srv/shop"


def test_a_paused_service_that_nobody_starts_is_refused() -> None:
    """It would stay stopped after a run that went well."""
    pause = Services("pause", pauses=["web", "worker"])
    with pytest.raises(ConfigurationError, match="pauses 'worker'") as refused:
        shop(pause, Services("restart", starts=["web"]))
    assert "Restart('worker')" in refused.value.then
    assert shop(pause, Services("restart", starts=["web", "worker"])).by_name


def test_a_service_that_is_started_only_before_its_pause_is_refused() -> None:
    """Order counts: what starts it must come later."""
    with pytest.raises(ConfigurationError, match="pauses 'web'"):
        shop(Services("restart", starts=["web"]), Services("pause", pauses=["web"]))
