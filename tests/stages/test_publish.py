"""`Publish` on this machine: one rename there, one back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploykit import codec
from deploykit.errors import ConfigurationError, PlanStale, StageFailed
from deploykit.publishing import Mark
from deploykit.stages.publish import Publish
from tests.stages.harness import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return this machine as a host, with the run's release in place."""
    bench = Bench(tmp_path / "it's a root")
    release(bench)
    return bench


def release(bench: Bench) -> None:
    """Put the run's release in place."""
    Path(bench.layout.release(bench.run.release)).mkdir(parents=True)


def test_the_first_publish_and_its_undo(bench: Bench) -> None:
    """The link appears, relative to its folder, and is gone again."""
    stage = Publish()
    plan = stage.plan(bench.planning())
    assert (plan.before, plan.target) == ("", "")
    bench.apply(stage, plan)
    current = Path(bench.layout.current)
    assert str(current.readlink()) == f"releases/{bench.run.release}"
    bench.undo(stage, plan)
    bench.undo(stage, plan, attempt=2)
    assert not current.is_symlink()


def test_a_publish_over_another(bench: Bench) -> None:
    """The link goes back to the release before, word for word."""
    stage = Publish()
    bench.apply(stage, stage.plan(bench.planning()))
    first = bench.run.release
    bench.new_run()
    release(bench)
    plan = stage.plan(bench.planning())
    assert plan.before == first
    bench.apply(stage, plan)
    assert stage.measure(bench.planning(), plan, undone=False)[0].ok
    bench.undo(stage, plan)
    assert str(Path(bench.layout.current).readlink()) == f"releases/{first}"
    assert stage.measure(bench.planning(), plan, undone=True)[0].ok


def test_undo_without_apply(bench: Bench) -> None:
    """What was never begun is undone by leaving it alone."""
    stage = Publish()
    plan = stage.plan(bench.planning())
    bench.undo(stage, plan)
    assert not Path(bench.layout.current).is_symlink()


@pytest.mark.parametrize("link", ["live", "sites/www live", "-x"])
def test_a_link_elsewhere(bench: Bench, link: str) -> None:
    """A link in a subfolder, or with an awkward name, leads to the release all the same."""
    path = Path(bench.layout.under(link))
    path.parent.mkdir(exist_ok=True)
    stage = Publish(link)
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    assert path.resolve() == Path(bench.layout.release(bench.run.release)).resolve()
    bench.undo(stage, plan)
    assert not path.is_symlink()


def test_a_link_outside_of_the_root(bench: Bench, tmp_path: Path) -> None:
    """An absolute link gets an absolute target."""
    path = tmp_path / "www"
    stage = Publish(str(path))
    bench.apply(stage, stage.plan(bench.planning()))
    assert str(path.readlink()) == bench.layout.release(bench.run.release)


def test_a_foreign_link_comes_back(bench: Bench, tmp_path: Path) -> None:
    """A link that no run of ours made is restored to what it was."""
    by_hand = tmp_path / "by-hand"
    by_hand.mkdir()
    current = Path(bench.layout.current)
    current.symlink_to(by_hand)
    stage = Publish()
    plan = stage.plan(bench.planning())
    assert (plan.before, plan.target) == ("", str(by_hand))
    bench.apply(stage, plan)
    bench.undo(stage, plan)
    assert current.readlink() == by_hand
    assert stage.measure(bench.planning(), plan, undone=True)[0].ok


def test_a_folder_in_the_way(bench: Bench) -> None:
    """Where a folder stands instead of a link, nothing is touched."""
    Path(bench.layout.current).mkdir()
    with pytest.raises(ConfigurationError, match="is not a link"):
        Publish().plan(bench.planning())


def test_somebody_else_moved_the_link(bench: Bench, tmp_path: Path) -> None:
    """A link that changed after the plan was made is not moved over."""
    stage = Publish()
    plan = stage.plan(bench.planning())
    Path(bench.layout.current).symlink_to(tmp_path)
    with pytest.raises(PlanStale, match="changed by others"):
        bench.apply(stage, plan)
    assert Path(bench.layout.current).readlink() == tmp_path


def test_no_release_to_publish(bench: Bench) -> None:
    """A link is never moved to a release that is not there."""
    Path(bench.layout.release(bench.run.release)).rmdir()
    stage = Publish()
    with pytest.raises(StageFailed, match="put a Transfer before"):
        bench.apply(stage, stage.plan(bench.planning()))
    assert not Path(bench.layout.current).is_symlink()


def test_the_release_before_is_gone(bench: Bench) -> None:
    """Undo says so instead of leaving a link to nowhere."""
    stage = Publish()
    bench.apply(stage, stage.plan(bench.planning()))
    first = Path(bench.layout.release(bench.run.release))
    bench.new_run()
    release(bench)
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    first.rmdir()
    with pytest.raises(StageFailed, match="no longer there"):
        bench.undo(stage, plan)
    assert Path(bench.layout.current).exists()


def test_the_host_remembers_when(bench: Bench) -> None:
    """The record of the publishing names the release and a tick that no older process has."""
    stage = Publish()
    bench.apply(stage, stage.plan(bench.planning()))
    record = Path(bench.layout.private, "published", "current").read_text()
    name, boot, tick = record.split()
    assert name == bench.run.release
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    own = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19]
    assert int(tick) > int(own)


def test_a_host_that_does_not_say_when() -> None:
    """Output without a mark proves nothing."""
    with pytest.raises(StageFailed, match="when the link moved"):
        Mark.printed_in("mark=\nmark=one\n")


def test_stage_and_plan_survive_the_journal(bench: Bench) -> None:
    """What is written comes back equal."""
    stage = Publish("live", on="web", name="live")
    for value in (stage, stage.plan(bench.planning())):
        assert codec.decode(json.loads(json.dumps(codec.encode(value)))) == value


@pytest.mark.parametrize("link", ["", "/", "current/", "a\nb"])
def test_not_a_link(link: str) -> None:
    """A path that cannot be a link is refused where it is written."""
    with pytest.raises(ConfigurationError):
        Publish(link)
