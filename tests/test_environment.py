"""Environments: pipelines bound to hosts, named by the variable that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploykit import Environment, Host, Pipeline
from deploykit.environment import project_root
from deploykit.errors import ConfigurationError, UnknownRole
from deploykit.stages import Install

HOSTS = (Host("a", roles={"web"}), Host("b", roles={"db", "web"}))


def shop(*hosts: Host, on: str | None = None, **options: Any) -> Environment:
    """Return an environment on *hosts*."""
    pipeline = Pipeline(app="shop", root="/srv/shop", stages=[Install("true", on=on)])
    return Environment(pipeline, hosts=hosts or HOSTS, **options)


held_by_this_module = shop()


def test_hosts_are_chosen_by_role_in_order() -> None:
    """No role means all of them."""
    chosen = {role: [h.label for h in shop().hosts_of(role)] for role in (None, "web", "db")}
    assert chosen == {None: ["a", "b"], "web": ["a", "b"], "db": ["b"]}


def test_a_misspelt_role_suggests_the_right_one() -> None:
    """The error names the stage, the word, and the nearest that exists."""
    with pytest.raises(UnknownRole, match=r"'install'.*'wep'; did you mean 'web'\?"):
        shop(on="wep")
    with pytest.raises(UnknownRole, match=r"known: \['db', 'web'\]"):
        shop(on="balancer")


def test_two_hosts_of_one_label_are_refused() -> None:
    """Journals are kept by label."""
    with pytest.raises(ConfigurationError, match="two hosts are called 'a'"):
        shop(Host("a"), Host("a", user="x"))
    assert len(shop(Host("a"), Host("a", port=2222)).hosts) == 2


def test_an_environment_without_hosts_is_refused() -> None:
    """Nor may the list be forgotten around a single one."""
    pipeline = shop().pipeline
    with pytest.raises(ConfigurationError, match="needs a host"):
        Environment(pipeline, hosts=[])
    with pytest.raises(ConfigurationError, match="a list of hosts, even of one"):
        Environment(pipeline, hosts=Host("a"))  # type: ignore[arg-type]  # the mistake in question


def test_a_script_s_environment_is_named_by_its_variable() -> None:
    """Nothing needs to be said twice, and paths are relative to the script."""
    named = held_by_this_module._self_named()
    assert (named.name, named.project) == ("held_by_this_module", Path(__file__).parent)


def test_an_environment_that_nothing_holds_asks_for_a_name() -> None:
    """A value in passing has no variable to be named by."""
    with pytest.raises(ConfigurationError, match="give it name="):
        shop()._self_named()
    assert shop(name="passing")._self_named().project == Path.cwd()


def test_binding_keeps_what_was_said(tmp_path: Path) -> None:
    """`name=` and `project=` win over the variable and the file."""
    assert shop(name="live").bound("production", tmp_path).name == "live"
    assert shop().bound("production", tmp_path).project == tmp_path


def test_the_project_of_a_pipelines_folder_is_its_parent(tmp_path: Path) -> None:
    """`pipelines/deploy.py` and `deploy.py` mean the same paths."""
    assert project_root(tmp_path / "pipelines" / "deploy.py") == tmp_path.resolve()
    assert project_root(tmp_path / "deploy.py") == tmp_path.resolve()
