"""Environments: pipelines bound to hosts, named by the variable that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploykit import Environment, Host, Pipeline
from deploykit.databases import SQLite
from deploykit.environment import project_root
from deploykit.errors import ConfigurationError, UnknownRole
from deploykit.stage import AnyStage
from deploykit.stages import (
    Backup,
    HealthCheck,
    Install,
    Local,
    Migrate,
    Prune,
    Publish,
    Restart,
    Shell,
    SmokeTest,
    Transfer,
)

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


def test_a_stage_that_needs_a_shell_is_refused_where_there_is_none() -> None:
    """Before any connection, naming stage, host and what to do."""
    with pytest.raises(
        ConfigurationError, match=r"'install' \(Install\).* 'h', which has no shell"
    ) as no:
        shop(Host("a", roles={"app"}), Host("h", shell=False))
    assert no.value.then
    assert shop(Host("a", roles={"app"}), Host("h", shell=False), on="app").hosts


def bare(*stages: AnyStage) -> Environment:
    """Return an environment of a host that has SFTP alone, after one that has a shell."""
    hosts = (Host("a", roles={"both"}), Host("h", shell=False, roles={"both", "bare"}))
    return Environment(Pipeline(app="shop", root="/srv/shop", stages=stages), hosts=hosts)


def test_stages_that_need_no_shell() -> None:
    """What works by files, and what asks the host nothing; a stage of one's own says so itself."""

    @dataclass(frozen=True)
    class Own:
        """A stage that asks nothing of its host."""

        name: str = "own"
        on: str = "bare"
        needs_shell: bool = False

        def plan(self, _ctx: object) -> None:
            """Nothing to plan."""

        apply = undo = plan

    url = "http://127.0.0.1/"
    own: Any = Own()
    assert bare(Local("true"), Transfer("app"), Publish(), SmokeTest(url), Prune(), own).hosts


@pytest.mark.parametrize(
    "stage",
    [
        Shell("own", do="true", on="bare"),
        Restart("shop.service", on="bare"),
        HealthCheck(port=80, on="bare"),
        SmokeTest("http://127.0.0.1/", via="host", on="bare"),
        Backup(SQLite("db"), keep=1, on="bare"),
        Migrate("alembic.ini", SQLite("db"), on_rollback="keep", on="bare"),
    ],
    ids=lambda stage: type(stage).__name__,
)
def test_stages_that_run_commands(stage: AnyStage) -> None:
    """Each of them is refused by its name; where only the first host counts, that one is asked."""
    with pytest.raises(ConfigurationError, match=f"{type(stage).__name__}.*has no shell"):
        bare(stage)


def test_only_the_host_that_a_stage_works_on_counts() -> None:
    """A database's first host has a shell; the others of its role need none."""
    assert bare(Backup(SQLite("db"), keep=1, on="both")).hosts
    with pytest.raises(ConfigurationError, match="no shell"):
        bare(HealthCheck(port=80, on="both"))
