"""What a guardian may do by itself, and what is said of one that fired: values, without hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from deploykit import Environment, Host, Pipeline, Secret
from deploykit.engine import guardian
from deploykit.engine.journal import History, Record
from deploykit.errors import ConfigurationError
from deploykit.stage import AnyStage
from deploykit.stages import Pause, Publish, Restart, Shell, SmokeTest, Transfer
from tests.real.reshaping import Reshape, ReshapePlan

REASON = "the guardian on web heard nothing of the controller for 90 s"


@dataclass(frozen=True)
class Own:
    """Plays a stage of one's own that moves the link, and knows no guardian."""

    name: str = "own"

    publishes = True

    def plan(self, ctx: Any) -> str:
        """See `Stage`."""
        raise NotImplementedError

    def apply(self, ctx: Any, plan: str) -> None:
        """See `Stage`."""

    def undo(self, ctx: Any, plan: str) -> None:
        """See `Stage`."""


SERVICE = "shop.service"
ONLINE = Shell("warm", do="true")


@pytest.mark.parametrize(
    ("stages", "plan", "why"),
    [
        ([Transfer("."), Restart(SERVICE)], None, ""),
        ([Transfer("."), Reshape(), Restart(SERVICE)], ReshapePlan(), "schema that reshape makes"),
        ([Transfer("."), Reshape(), Restart(SERVICE)], ReshapePlan(pending=()), ""),
        ([Transfer("."), Reshape(), Restart(SERVICE)], ReshapePlan(rung=1), ""),
        ([Transfer("."), Reshape(online=True), Restart(SERVICE)], ReshapePlan(), ""),
        ([Transfer("."), Pause(SERVICE), ONLINE, Restart(SERVICE)], None, "paused for warm"),
        ([Transfer("."), ONLINE, Pause(SERVICE), Restart(SERVICE)], None, ""),
        ([Pause(SERVICE), SmokeTest("http://x/"), Restart(SERVICE), ONLINE], None, ""),
        ([Transfer("."), Own()], None, "own has no undo_script"),
        ([Transfer("."), Publish()], None, ""),
    ],
)
def test_when_the_code_may_go_back_by_itself(
    stages: list[AnyStage], plan: ReshapePlan | None, why: str
) -> None:
    """Never onto a schema, or into a state, that it may not run with."""
    by_name = {stage.name: stage for stage in stages}
    plans = {("reshape", "web"): plan} if plan else {}
    found = guardian._obstacle(by_name, plans)
    assert why in found
    assert bool(why) == bool(found)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], ""),
        ([{"kind": "back", "reason": "smoke-test failed"}], ""),
        ([_back := {"kind": "back", "by": "guardian", "reason": REASON, "epoch": 4}], "no link"),
        ([_back, {"kind": "began", "key": "undo-restart", "direction": "undo"}], "began to bring"),
        (
            [_back, {"kind": "ended", "key": "undo-restart", "direction": "undo", "rc": 0}],
            "the guardian on web brought the code back",
        ),
        (
            [_back, {"kind": "ended", "key": "undo-restart", "direction": "undo", "rc": 7}],
            "could not bring the code back (exit 7)",
        ),
        (
            [{"kind": "needs_rollback", "by": "guardian", "reason": f"{REASON}, and left it"}],
            f"{REASON}, and left it",
        ),
    ],
)
def test_what_is_said_of_one_that_fired(records: list[Record], said: str) -> None:
    """In one sentence a host, from the journal alone."""
    told = guardian.told(History("r", {"web": tuple(records)}))
    assert said in told
    assert bool(said) == bool(told)


def test_only_what_a_guardian_issued_is_its_epoch() -> None:
    """A controller that was fenced has to know by whom."""
    found = History(
        "r", {"web": ({"kind": "back", "by": "guardian", "reason": REASON, "epoch": 4},)}
    )
    assert guardian.fired(found, "web", 4) == REASON
    assert guardian.fired(found, "web", 5) == ""
    assert guardian.fired(found, "db", 4) == ""
    assert (guardian.last_epoch(found, "web"), guardian.last_epoch(found, "db")) == (4, 0)


@pytest.mark.parametrize("seconds", [0.5, 0, -90, float("nan")])
def test_a_guardian_needs_a_second_at_least(seconds: float) -> None:
    """What cannot be meant is refused where it is written."""
    with pytest.raises(ConfigurationError, match="confirm_within="):
        Pipeline(app="shop", root="/srv/shop", stages=[Publish()], confirm_within=seconds)


def test_hosts_whose_sudo_asks_for_a_password_have_none() -> None:
    """The password would have to lie there for as long as it is armed; `plan` says so."""
    pipeline = Pipeline(app="shop", root="/srv/shop", stages=[Publish()], confirm_within=90)
    hosts = [Host("a"), Host("b", sudo=Secret.from_env("SUDO"))]
    plans = {("publish", "a"): None, ("publish", "b"): None}
    production = Environment(pipeline, hosts=hosts, name="production")
    guarded, bare = guardian.notes(production, pipeline.by_name, plans)
    assert "brings the code back by itself" in guarded
    assert bare == "no guardian on b: sudo needs a password there"
