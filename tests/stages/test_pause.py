"""`Pause` on this machine, with a service of the test's own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from deploykit import codec
from deploykit.errors import ConfigurationError, StageFailed
from deploykit.services import Custom, Signal, Supervisor, TouchFile
from deploykit.stages.pause import Pause
from tests.stages.harness import Bench

APP = Custom(
    restart="echo restart >> log; touch up",
    start="echo start >> log; touch up",
    stop="echo stop >> log; rm -f up",
    check="[ -e up ]",
    name="app",
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return this machine as a host where a release is published and its service is up."""
    bench = Bench(tmp_path / "shop")
    Path(bench.layout.release("one")).mkdir(parents=True)
    Path(bench.layout.current).symlink_to("releases/one")
    (bench.root / "up").touch()
    return bench


def log(bench: Bench) -> list[str]:
    """Return what was done to the service."""
    path = bench.root / "log"
    return path.read_text().split() if path.exists() else []


def test_stopped_and_started_again(bench: Bench) -> None:
    """Apply stops it once, undo starts it once."""
    stage = Pause(APP)
    plan = stage.plan(bench.planning())
    assert plan.describe() == ("stop app",)
    bench.apply(stage, plan)
    bench.apply(stage, plan)
    assert not (bench.root / "up").exists()
    bench.undo(stage, plan)
    assert log(bench) == ["stop", "start"]


def test_what_was_stopped_stays_stopped(bench: Bench) -> None:
    """A service that did not run is neither stopped nor started."""
    (bench.root / "up").unlink()
    stage = Pause(APP)
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    bench.undo(stage, plan)
    assert log(bench) == []


def test_a_stop_that_fails(bench: Bench) -> None:
    """The exit code is in the error."""
    stage = Pause(dataclasses.replace(APP, stop="exit 5"))
    with pytest.raises(StageFailed, match=r"could not be stopped \(exit 5\)"):
        bench.apply(stage, stage.plan(bench.planning()))


def test_a_service_that_comes_back_by_itself(bench: Bench) -> None:
    """A stop that does not hold fails the stage."""
    stage = Pause(dataclasses.replace(APP, stop="true"), within=0.2)
    with pytest.raises(StageFailed, match="was stopped and runs again"):
        bench.apply(stage, stage.plan(bench.planning()))


def test_a_start_that_fails_on_the_way_back(bench: Bench) -> None:
    """Undo does not claim that the old code runs when it does not."""
    stage = Pause(dataclasses.replace(APP, start="exit 6"))
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    with pytest.raises(StageFailed, match="could not be started"):
        bench.undo(stage, plan)


@pytest.mark.parametrize(
    "service", [Signal("app.pid"), TouchFile(), Custom(restart="a", check="b")]
)
def test_what_cannot_be_paused(service: Signal | TouchFile | Custom) -> None:
    """A service that has no stop of its own is refused where it is written."""
    with pytest.raises(ConfigurationError, match="cannot be stopped"):
        Pause(service)


def test_the_stage_survives_the_journal() -> None:
    """It comes back equal, and can be renamed."""
    stage = Pause("shop.service", Supervisor("worker"), within=3, on="web")
    assert codec.decode(json.loads(json.dumps(codec.encode(stage)))) == stage
    renamed = dataclasses.replace(stage, name="pause-2")
    assert renamed.pauses == ("shop.service", "worker")
