"""What is refused before anything is touched, and the ways on that are named."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploykit import Environment, Host, Pipeline
from deploykit.engine import api
from deploykit.engine.events import Event
from deploykit.errors import Refused
from deploykit.stage import Acting, AnyStage, Planning
from deploykit.stages import Publish, Shell, Transfer


@dataclass(frozen=True)
class Reshaped:
    """The plan of a stage that changes a schema."""

    pending: tuple[str, ...] = ("0002 drop the names",)
    loses: str = "all that is in users.name"
    rung: int = 3


@dataclass(frozen=True)
class Reshape:
    """A stage that changes a schema, as far as the engine can see."""

    undo_for: str = "7 days"
    name: str = "reshape"
    migrates = True

    def plan(self, ctx: Planning) -> Reshaped:
        """See `Stage`."""
        del ctx
        return Reshaped()

    def apply(self, ctx: Acting, plan: Reshaped) -> None:
        """See `Stage`."""

    def undo(self, ctx: Acting, plan: Reshaped) -> None:
        """See `Stage`."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with one page."""
    folder = tmp_path / "project"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "page").write_text("0")
    return folder


def shop(project: Path, *more: AnyStage) -> Environment:
    """Return an environment on this machine."""
    root = project.parent / "root"
    pipeline = Pipeline(app="shop", root=str(root), stages=[Transfer("app"), Publish(), *more])
    return Environment(pipeline, hosts=[Host("local:", name="h")], name="p", project=project)


def deploy(project: Path, page: str, *more: AnyStage) -> str:
    """Deploy *page* and return the release."""
    (project / "app" / "page").write_text(page)
    result = shop(project, *more).run()
    assert result.ok, result.error
    return result.release


def test_a_rollback_down_to_a_release_undoes_every_run_above_it(project: Path) -> None:
    """Each run is undone, newest first, and the release that was named is live again."""
    log = project.parent / "log"
    mark = f"echo $DEPLOYKIT_RELEASE >> {log}"
    made = [deploy(project, str(n), Shell("mark", do="true", undo=mark)) for n in range(4)]
    result = shop(project).rollback(made[1])
    assert result.exit_code == 0, result.error
    assert result.release == made[1]
    assert log.read_text().split() == [made[3], made[2]]
    states = {line.id: line.state for line in shop(project).status().hosts[0].ledger.lines}
    assert [states[release] for release in made] == ["good", "good", "bad", "bad"]


def test_a_release_that_nobody_made_cannot_be_gone_back_to(project: Path) -> None:
    """The error names the command that lists those that can."""
    deploy(project, "1")
    with pytest.raises(Refused, match="deploykit releases p"):
        shop(project).rollback("20200101T000000Z-00000000")


def test_a_release_that_was_pruned_cannot_be_gone_back_to(project: Path) -> None:
    """It is known before anything is touched; the newest run is not undone on the way."""
    made = [deploy(project, str(n)) for n in range(3)]
    root = project.parent / "root"
    shutil.rmtree(root / "releases" / made[0])
    with pytest.raises(Refused, match=rf"{made[0]} on h") as refused:
        shop(project).rollback(made[0])
    assert refused.value.state == "nothing was touched"
    assert (root / "current").readlink().name == made[2]
    assert shop(project).rollback().release == made[1]


def test_a_release_that_is_no_longer_what_was_deployed_is_told_of(project: Path) -> None:
    """Its files are named, edited or gone; what was added is not ours, and nobody is kept."""
    told: list[Event] = []
    root = project.parent / "root"
    (project / "app" / 'it\'s "odd" %s').write_text("x")
    (project / "app" / "two words").write_text("x")
    made = [deploy(project, str(n)) for n in range(3)]
    (root / "releases" / made[0] / "page").write_text("0 and more")
    (root / "releases" / made[0] / "two words").unlink()
    (root / "releases" / made[0] / "venv").write_text("made by Install")
    assert api.rollback(shop(project), listeners=[told.append]).release == made[1]
    assert not [event for event in told if event["event"] == "release_altered"]
    assert api.rollback(shop(project), made[0], listeners=[told.append]).release == made[0]
    altered = [event for event in told if event["event"] == "release_altered"]
    assert [(e["host"], e["release"], sorted(e["files"]), e["count"]) for e in altered] == [
        ("h", made[0], ["page", "two words"], 2)
    ]


def test_nothing_to_go_back_from(project: Path) -> None:
    """Before the first deploy a rollback is refused, and nothing is made on the host."""
    with pytest.raises(Refused, match="no run to go back from"):
        shop(project).rollback()
    assert not (project.parent / "root").exists()


def test_a_sealed_schema_stops_a_rollback_and_the_loss_is_named(project: Path) -> None:
    """Once its time has passed, undoing a migration loses data: that takes a written yes."""
    first = deploy(project, "1")
    second = deploy(project, "2", Reshape(undo_for="0 s"))
    with pytest.raises(Refused, match=r"users\.name") as refused:
        shop(project).rollback()
    assert refused.value.exit_code == 5
    assert "--accept-loss" in refused.value.then
    assert shop(project).status().hosts[0].release == second
    assert shop(project).rollback(accept_loss=True).release == first


def test_a_schema_that_is_not_sealed_yet_can_be_undone(project: Path) -> None:
    """Within `undo_for` nothing is in the way, and `status` says until when."""
    first = deploy(project, "1")
    deploy(project, "2", Reshape())
    status = shop(project).status()
    assert (status.rung, bool(status.until)) == (3, True)
    assert shop(project).rollback().release == first


def test_an_older_commit_is_refused(project: Path) -> None:
    """A stale CI job must not bring yesterday's code back; --again says that it is meant."""

    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words],
            cwd=project,
            check=True,
            capture_output=True,
        )

    git("init")
    for page in ("old", "new"):
        (project / "app" / "page").write_text(page)
        git("add", "-A")
        git("commit", "-m", page)
    deploy(project, "new")
    git("checkout", "HEAD^")
    with pytest.raises(Refused, match="is older than"):
        shop(project).run()
    assert shop(project).run(again=True).ok


def test_a_run_whose_lock_was_freed_by_force_is_still_undone_first(project: Path) -> None:
    """A rollback must not go back from the good run before, over what the newer one left."""
    first = deploy(project, "1")
    gate = project.parent / "mended"
    half = Shell("half", do="exit 1", undo=f"test -e {gate}")
    assert shop(project, half).run().state == "stuck"
    assert api.lock_release(shop(project), force=True)
    gate.touch()
    result = shop(project).rollback()
    assert result.exit_code == 0, result.error
    assert result.release == first
    assert shop(project).status().ok
