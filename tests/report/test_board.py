"""What the live console shows as running now."""

from __future__ import annotations

from deploykit.report.board import Board


def board() -> Board:
    """Return a board whose clock stands still."""
    return Board(now=lambda: 10.0)


def test_a_stage_runs_until_it_ends() -> None:
    """A unit appears when it starts, goes when it ends, and takes its output's end along."""
    shown = board()
    assert shown.take({"event": "stage_started", "stage": "install", "host": "a"})
    for number in range(9):
        shown.take(
            {"event": "command_output", "stage": "install", "host": "a", "text": f"{number}"}
        )
    assert list(shown.tail) == ["4", "5", "6", "7", "8"]
    assert list(shown.running) == [("install", "a")]
    assert shown.seconds(("install", "a")) == 0.0
    assert not shown.take({"event": "stage_applied", "stage": "install", "host": "a"})
    assert not shown.running
    assert not shown.tail


def test_output_of_several_hosts_is_told_apart() -> None:
    """Lines carry their host's label as soon as two hosts work."""
    shown = board()
    for host in ("a", "b"):
        shown.take({"event": "stage_started", "stage": "install", "host": host})
    shown.take({"event": "command_output", "stage": "install", "host": "b", "text": "x"})
    assert list(shown.tail) == ["b: x"]


def test_an_upload_knows_its_time_left() -> None:
    """Progress carries bytes and rate; without a rate nobody knows when it ends."""
    shown = board()
    event = {"event": "upload_progress", "stage": "t", "host": "a", "done": 5, "total": 10}
    shown.take({**event, "rate": 2.5})
    assert shown.uploads["t", "a"].left == 2.0
    shown.take({**event, "rate": None})
    assert shown.uploads["t", "a"].left is None


def test_local_work_has_no_host() -> None:
    """What is built here is shown while it is built, and ends with its stage's first event."""
    shown = board()
    shown.take({"event": "local_output", "stage": "build", "text": "compiling"})
    assert list(shown.running) == [("build", "")]
    shown.take({"event": "run_started", "environment": "p"})
    assert not shown.running


def test_going_back_clears_the_board() -> None:
    """What was cut short by a failure elsewhere does not run on for ever."""
    shown = board()
    shown.take({"event": "stage_started", "stage": "x", "host": "a"})
    shown.take({"event": "rollback_started", "reason": "no"})
    assert not shown.running
