"""The project of the demo as work trees, and what its host is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploykit.demo.host import DemoHost
from deploykit.demo.scheduler import (
    RELEASES,
    check_out,
    deploy_variables,
    dotenv,
    find_project,
    programs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from deploykit.demo.server import DemoServer


def files(tree: Path) -> set[str]:
    """List the files of a work tree."""
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}


@pytest.mark.parametrize("release", RELEASES)
def test_work_tree_is_complete(tmp_path: Path, release: str) -> None:
    """Every release has its pipeline, its migrations and the code of those before it."""
    check_out(release, tmp_path / "tree")
    kept = files(tmp_path / "tree")
    assert {"deploy.py", "alembic.ini", "requirements.txt", "scheduler/app.py"} <= kept
    revisions = [name for name in kept if name.startswith("migrations/versions/")]
    assert len(revisions) == RELEASES.index(release) + 1


def test_work_tree_goes_forward_and_back(tmp_path: Path) -> None:
    """The same folder can be brought to any release, with nothing of another in it."""
    tree = tmp_path / "tree"
    check_out("v1", tree)
    first = files(tree)
    check_out("v3", tree)
    check_out("v1", tree)
    assert files(tree) == first


def test_unknown_release(tmp_path: Path) -> None:
    """A release that does not exist is refused before the work tree is touched."""
    check_out("v1", tmp_path)
    with pytest.raises(ValueError, match="v9"):
        check_out("v9", tmp_path)
    assert (tmp_path / "deploy.py").exists()


def test_overlays_change_something() -> None:
    """No overlay repeats a file that it does not change."""
    releases = find_project() / "releases"
    for before, after in (("v1", "v2"), ("v2", "v3")):
        for path in sorted((releases / after).rglob("*.py")):
            older = releases / before / path.relative_to(releases / after)
            assert not older.exists() or older.read_text() != path.read_text()


def test_host_is_told_its_own_paths(tmp_path: Path) -> None:
    """Programs and variables name the throw-away root, and nothing starts before a deploy."""
    host = DemoHost(tmp_path)
    assert f"directory={host.root}/current" in programs(host)
    assert "/srv/scheduler/" not in programs(host).replace(str(host.root), "")
    assert "autostart=true" not in programs(host)
    assert dotenv(host, 8123).splitlines() == [
        f"DATABASE_URL=sqlite:///{host.root}/shared/scheduler.sqlite3",
        "PORT=8123",
    ]


def test_pipeline_is_told_the_server(server: DemoServer) -> None:
    """Every variable that `deploy.py` asks for is given, and no other."""
    given = deploy_variables(server, 8123)
    text = (find_project() / "deploy.py").read_text()
    assert {name for name in given if f'environ.get("{name}"' in text} == set(given)
    assert text.count("environ.get(") == len(given)
