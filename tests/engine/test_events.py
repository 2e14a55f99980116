"""The one stream of events."""

from __future__ import annotations

import sys
from typing import Any

import structlog

from deploykit.engine.events import Event, Events


def test_events_carry_what_is_bound() -> None:
    """Bound keys are on every event, and bind nothing on the stream they came from."""
    told: list[Event] = []
    events = Events([told.append])
    events.bind(run="r", host="a").bind(host="b").tell("stage_applied", stage="s", took=1.5)
    events.tell("connected")
    assert {key: told[0][key] for key in ("event", "run", "host", "stage", "took")} == {
        "event": "stage_applied",
        "run": "r",
        "host": "b",
        "stage": "s",
        "took": 1.5,
    }
    assert "run" not in told[1]
    assert told[0]["at"].endswith("Z")


def test_no_secret_passes_and_names_stay_whole() -> None:
    """A password that is also the name of a stage blots out text, and nothing to go by."""
    told: list[Event] = []
    events = Events([told.append])
    events.scrubber.learn("migrate")
    events.tell("stage_failed", stage="migrate", error="password migrate", keys=["migrate"])
    assert told[0]["stage"] == "migrate"
    assert (told[0]["error"], told[0]["keys"]) == ("password ***", ["***"])


def test_a_listener_that_fails_hears_no_more_and_ends_nothing() -> None:
    """A closed pipe or a full disk at the operator's must not leave a deploy half-done."""
    told: list[Event] = []

    def broken(event: Event) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    events = Events([broken, told.append])
    events.tell("stage_started", stage="s")
    events.tell("stage_applied", stage="s")
    names = [event["event"] for event in told]
    assert names == ["listener_failed", "stage_started", "stage_applied"]
    assert "Broken pipe" in told[0]["error"]


def test_structlog_is_not_configured_for_others() -> None:
    """The library keeps its hands off the program that imports it."""
    before: dict[str, Any] = structlog.get_config()
    told: list[Event] = []
    Events([told.append]).tell("connected")
    assert structlog.get_config() == before
    assert structlog.is_configured() is False
    assert "structlog" in sys.modules


def test_a_late_listener_hears_what_comes() -> None:
    """It may be added at any time, also on a bound stream."""
    told: list[Event] = []
    events = Events()
    events.tell("connected")
    events.bind(host="a").listen(told.append)
    events.tell("run_started")
    assert [event["event"] for event in told] == ["run_started"]
