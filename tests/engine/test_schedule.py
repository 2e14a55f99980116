"""Which stage works on which hosts, in which order, and what happens when one fails."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from deploykit import Environment, Host, Pipeline
from deploykit.engine.fleet import secrets_in
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.schedule import carry_out, hosts_of
from deploykit.secrets import Secret
from deploykit.stages import Install

LABELS = ["a", "b", "c"]


@dataclass(frozen=True)
class Placed(Install):
    """A stage with a placement."""

    placement: str = "each"


def stage(placement: str, on: str | None = None) -> Any:
    """Return a stage with that placement."""
    return Placed("true", placement=placement, on=on)


@pytest.fixture
def environment() -> Environment:
    """Return an environment of three hosts, two of them with a role."""
    hosts = [Host("a", roles={"web"}), Host("b"), Host("c", roles={"web"})]
    pipeline = Pipeline(app="shop", root="/srv/shop", stages=[])
    return Environment(pipeline, hosts=hosts, name="production")


@pytest.mark.parametrize(
    ("placement", "on", "left", "chosen"),
    [
        ("each", None, LABELS, ("a", "b", "c")),
        ("each", "web", LABELS, ("a", "c")),
        ("serial", "web", ["b", "c"], ("c",)),
        ("first", None, LABELS, ("a",)),
        ("first", "web", ["b", "c"], ("c",)),
        ("first", "web", ["b"], ()),
    ],
)
def test_hosts_are_chosen(
    environment: Environment,
    placement: str,
    on: str | None,
    left: list[str],
    chosen: tuple[str, ...],
) -> None:
    """By role, in order, out of those that are left in the run."""
    assert hosts_of(stage(placement, on), environment, left) == chosen


def test_hosts_work_in_parallel() -> None:
    """All at once, or none of them would pass the barrier."""
    barrier = threading.Barrier(3, timeout=10)

    def work(_: str) -> None:
        barrier.wait()

    assert carry_out(stage("each"), LABELS, work, Interrupts(), on_through=False) == {}


@pytest.mark.parametrize(("on_through", "reached"), [(False, ["a", "b"]), (True, LABELS)])
def test_host_by_host_ends_at_a_failure_unless_told_otherwise(
    on_through: bool, reached: list[str]
) -> None:
    """Apply stops there, undo goes on."""
    seen = []

    def work(name: str) -> None:
        seen.append(name)
        if name == "b":
            raise ValueError(name)

    failures = carry_out(stage("serial"), LABELS, work, Interrupts(), on_through=on_through)
    assert (seen, list(failures)) == (reached, ["b"])


def test_a_stop_is_asked_again_until_everybody_has_ended() -> None:
    """A command may begin at the very moment of the first."""
    stops: list[int] = []
    ended = threading.Event()

    def stop() -> None:
        stops.append(1)
        if len(stops) == 3:
            ended.set()

    def work(name: str) -> None:
        if name == "a":
            os.kill(os.getpid(), signal.SIGTERM)
        assert ended.wait(20)

    with Interrupts() as interrupts:
        assert carry_out(stage("each"), LABELS, work, interrupts, on_through=False, stop=stop) == {}
    assert len(stops) >= 3


def test_secrets_are_found_however_deep() -> None:
    """In stages, lists, mappings and dataclasses."""
    one, two = Secret.from_env("ONE"), Secret.literal("two")
    hosts = [Host("a", sudo=one)]
    assert list(secrets_in([hosts, {"x": ({"y": two},)}, "three", None])) == [one, two]
