"""The verbs that change hosts: options, telling, the end, exit codes; the engine is of paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploykit.errors import CheckFailed, LockHeld, RollbackFailed
from tests.cli.conftest import result

if TYPE_CHECKING:
    from tests.cli.conftest import PaperEngine, Program

EVENTS: list[dict[str, Any]] = [
    {"event": "connected", "at": "2026-11-04T10:15:12Z", "host": "a"},
    {
        "event": "run_started",
        "at": "2026-11-04T10:15:13Z",
        "environment": "production",
        "run": "r2-0000beef",
        "release": "r2",
        "hosts": ["a"],
    },
    {
        "event": "command_output",
        "at": "2026-11-04T10:15:14Z",
        "run": "r2-0000beef",
        "stage": "install",
        "host": "a",
        "text": "\x1b[31mred\x1b[0m",
    },
]


def test_options_reach_the_engine(deploykit: Program, engine: PaperEngine) -> None:
    """Each option of `run` is handed on."""
    deploykit(
        *("run", "production", "--again", "--without", "b", "--without", "c", "--lock-wait", "5")
    )
    name, options = engine.calls[-1]
    assert name == "run"
    assert options["environment"] == "production"
    assert options["again"] is True
    assert options["without"] == ("b", "c")
    assert options["lock_wait"] == 5.0


def test_rollback_takes_a_release(deploykit: Program, engine: PaperEngine) -> None:
    """`rollback ENV RELEASE --accept-loss` says how far, and that a loss is accepted."""
    deploykit("rollback", "production", "r1", "--accept-loss")
    name, options = engine.calls[-1]
    assert (name, options["release"], options["accept_loss"]) == ("rollback", "r1", True)


def test_a_run_is_told_in_plain_lines(deploykit: Program, engine: PaperEngine) -> None:
    """Away from a terminal each event is a line with its time, and no escape code comes through."""
    engine.events = EVENTS
    ended = deploykit("run", "production")
    assert ended.code == 0
    assert "install      a            | red" in ended.out
    assert "\x1b" not in ended.out
    assert "production: done, release r2" in ended.out
    assert "wanted" in ended.out


def test_json_keeps_standard_output_for_the_document(
    deploykit: Program, engine: PaperEngine
) -> None:
    """With `--json` the telling goes to standard error."""
    engine.events = EVENTS
    ended = deploykit("run", "production", "--json")
    document = json.loads(ended.out)
    assert document["exit_code"] == 0
    assert document["table"][0] == {
        "host": "a",
        "kind": "release",
        "name": "current",
        "wanted": "r2",
        "is": "r2",
        "ok": True,
        "proven": True,
    }
    assert "| red" in ended.err


def test_every_run_leaves_a_file(deploykit: Program, engine: PaperEngine) -> None:
    """A file with every event, also those before the run had an id, is left for its owner alone."""
    engine.events = EVENTS
    path = Path(json.loads(deploykit("run", "production", "--json").out)["file"])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == [event["event"] for event in EVENTS]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("code", [0, 1, 3, 5, 130])
def test_the_exit_code_is_the_results(deploykit: Program, engine: PaperEngine, code: int) -> None:
    """The engine's exit code reaches the shell."""
    error = CheckFailed("the page says 500", state="as before", then="look") if code else None
    engine.result = result(code, error=error, state="stuck" if code == 3 else "rolled_back")
    ended = deploykit("run", "production")
    assert ended.code == code
    assert ("the page says 500" in ended.err) is bool(code)


def test_a_stuck_run_names_the_way_out(deploykit: Program, engine: PaperEngine) -> None:
    """When something could not be undone, the last line on standard output says what to type."""
    engine.result = result(3, error=RollbackFailed("stuck"), state="stuck", table={})
    assert "next: deploykit rollback production" in deploykit("run", "production").out


def test_a_locked_environment_is_exit_code_4(deploykit: Program, engine: PaperEngine) -> None:
    """A lock that somebody else holds is exit code 4."""
    engine.error = LockHeld("locked by ann", state="nothing was touched", then="wait")
    assert deploykit("run", "production").code == 4


def test_nothing_to_resume_is_well(deploykit: Program, engine: PaperEngine) -> None:
    """`resume` with nothing to resume says so, and that is no failure."""
    engine.result = None
    ended = deploykit("resume", "production")
    assert ended.code == 0
    assert "nothing to resume" in ended.out
    assert json.loads(deploykit("resume", "production", "--json").out)["run"] is None


def test_a_live_controller_is_not_taken_over_unasked(
    deploykit: Program, engine: PaperEngine
) -> None:
    """Where nobody can be asked, the answer is no, and the message names the option for yes."""
    engine.error = LockHeld("a controller is at work", then="deploykit resume X --takeover")
    ended = deploykit("resume", "production")
    assert ended.code == 4
    assert "--takeover" in ended.err
    assert len(engine.calls) == 1


def test_takeover_is_handed_on(deploykit: Program, engine: PaperEngine) -> None:
    """`--takeover` asks nobody."""
    deploykit("rollback", "production", "--takeover")
    assert engine.calls[-1][1]["takeover"] is True


def test_github_gets_groups_and_annotations(
    deploykit: Program, engine: PaperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under GitHub Actions a stage is a group, and an error before any stage is an annotation."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    engine.events = EVENTS
    assert "::group::install\n" in deploykit("run", "production").out
    engine.error = LockHeld("locked by ann", then="wait")
    assert "::error::locked by ann%0A  wait\n" in deploykit("run", "production").err


def test_backup_create_needs_a_backup_stage(deploykit: Program, engine: PaperEngine) -> None:
    """A pipeline that makes no backup is told how to make one."""
    ended = deploykit("backup", "create", "production")
    assert ended.code == 2
    assert "Backup(" in ended.err
