"""The verbs that answer a question: their JSON, their tables, their exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from deploykit.engine import api
from deploykit.engine.copies import folder_of
from deploykit.engine.outcome import RunSummary
from deploykit.errors import ConnectFailed
from tests.cli.conftest import OWNER

if TYPE_CHECKING:
    from tests.cli.conftest import PaperEngine, Program

QUESTIONS = (
    ("status", "production"),
    ("releases", "production"),
    ("runs", "production"),
    ("runs", "production", "beef"),
    ("plan", "production"),
    ("lock", "status", "production"),
)


@pytest.mark.parametrize("words", QUESTIONS, ids=" ".join)
def test_json_is_one_document_and_nothing_else(
    deploykit: Program, engine: PaperEngine, words: tuple[str, ...]
) -> None:
    """`--json` prints one document on one line, and standard error stays silent."""
    ended = deploykit(*words, "--json")
    assert ended.code == 0
    json.loads(ended.out)
    assert ended.out.count("\n") == 1
    assert ended.err == ""


@pytest.mark.parametrize("words", QUESTIONS, ids=" ".join)
def test_people_get_lines(deploykit: Program, engine: PaperEngine, words: tuple[str, ...]) -> None:
    """Without `--json` there are lines for people, and away from a terminal no escape codes."""
    ended = deploykit(*words)
    assert ended.code == 0
    assert ended.out.strip()
    assert "\x1b" not in ended.out


def test_status_document(deploykit: Program, engine: PaperEngine) -> None:
    """`status --json` has the promised fields."""
    engine.owner = OWNER
    document: dict[str, Any] = json.loads(deploykit("status", "production", "--json").out)
    assert document == {
        "environment": "production",
        "ok": True,
        "hosts": [
            {
                "host": "a",
                "release": "r2",
                "state": "good",
                "services": [{"name": "shop.service", "release": "r2", "ok": True, "proven": True}],
            }
        ],
        "migration": {"wanted": "b1", "is": "b1"},
        "lock": {
            "run": OWNER.run,
            "by": OWNER.by,
            "reason": OWNER.reason,
            "at": OWNER.at,
        },
        "unfinished_run": None,
        "unfinished_state": None,
        "guardian": None,
        "undoable": {"rung": 1, "until": None},
        "leftovers": ["a stray"],
    }


def test_status_that_is_not_ok_is_exit_code_1(deploykit: Program, engine: PaperEngine) -> None:
    """A question answered "not ok" is exit code 1, and says what is not as wanted."""
    engine.ok = False
    ended = deploykit("status", "production")
    assert ended.code == 1
    assert "NOT as wanted" in ended.out
    assert deploykit("status", "production", "--json").code == 1


def test_releases_document(deploykit: Program, engine: PaperEngine) -> None:
    """`releases --json` lists all hosts' releases once, newest first, with the promised fields."""
    newest, oldest = json.loads(deploykit("releases", "production", "--json").out)
    assert (newest["id"], oldest["id"]) == ("r2", "r1")
    assert newest["current"]
    assert not oldest["current"]
    assert newest["hosts"] == ["a", "b"]
    assert {"id", "content", "state", "current", "created", "by", "commit"} <= set(newest)


def test_runs_are_listed_from_the_copies_where_a_host_is_gone(
    deploykit: Program, engine: PaperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is said that they are copies, and where; without any, what is wrong is said."""
    kept = engine.runs(None)

    def runs(_environment: object, *, copied: bool = False) -> tuple[RunSummary, ...]:
        if not copied:
            raise ConnectFailed("host shop.example: no SSH connection to shop.example:22")
        return kept

    monkeypatch.setattr(api, "runs", runs)
    ended = deploykit("runs", "production")
    assert ended.code == 0
    assert "no SSH connection to shop.example:22" in ended.err
    assert f"the copy in {folder_of('production')}" in ended.err
    assert kept[0].run in ended.out
    assert kept[0].run not in ended.err
    kept = ()
    gone = deploykit("runs", "production")
    assert gone.code == ConnectFailed.exit_code
    assert "no SSH connection" in gone.err


def test_runs_may_be_named_by_their_last_digits(deploykit: Program, engine: PaperEngine) -> None:
    """The last digits of a run's id are enough; others name the verb that lists them."""
    document = json.loads(deploykit("runs", "production", "cafe", "--json").out)
    assert document["run"] == "r1-0000cafe"
    unknown = deploykit("runs", "production", "dead")
    assert unknown.code == 2
    assert "deploykit runs production" in unknown.err


def test_ambiguous_run_is_refused(deploykit: Program, engine: PaperEngine) -> None:
    """Digits that two runs share choose none of them."""
    ended = deploykit("runs", "production", "r")
    assert ended.code == 2
    assert "2 runs are called like 'r'" in ended.err


def test_plan_passes_no_build(deploykit: Program, engine: PaperEngine) -> None:
    """`plan --no-build` builds nothing."""
    deploykit("plan", "production", "--no-build")
    assert engine.calls[-1][1]["build"] is False


def test_unreachable_host(deploykit: Program, engine: PaperEngine) -> None:
    """A host that cannot be reached is exit code 2: what, state, next command, in this order."""
    engine.error = ConnectFailed("no answer from a", state="nothing was touched", then="try ssh a")
    ended = deploykit("status", "production")
    assert ended.code == 2
    assert ended.err.splitlines() == ["no answer from a", "  nothing was touched", "  try ssh a"]


def test_log_format_json_goes_to_standard_error(deploykit: Program, engine: PaperEngine) -> None:
    """Events are JSON lines on standard error, wherever the option stands."""
    engine.events = [{"event": "connected", "at": "t", "host": "a"}]
    for words in (
        ("--log-format", "json", "status", "production", "--json"),
        ("status", "production", "--json", "--log-format", "json"),
    ):
        ended = deploykit(*words)
        assert json.loads(ended.err)["event"] == "connected"
        assert json.loads(ended.out)["ok"]


def test_lock_verbs(deploykit: Program, engine: PaperEngine) -> None:
    """Taking the lock needs a reason; freeing a run's lock by force is followed by a warning."""
    assert deploykit("lock", "acquire", "production", "-m", "moving").code == 0
    assert engine.calls[-1] == ("lock_acquire", {"reason": "moving"})
    assert "free already" in deploykit("lock", "release", "production").out
    assert (
        "neither finished nor undone" in deploykit("lock", "release", "production", "--force").err
    )
