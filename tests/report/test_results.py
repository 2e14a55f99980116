"""What is printed at the end: tables, errors, the run's file, colours."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from deploykit.engine.outcome import PlannedStage, PlanResult
from deploykit.errors import CheckFailed, CommandFailed, DeploykitError
from deploykit.report.end import end_lines
from deploykit.report.failure import explain, failure
from deploykit.report.plan import plan_lines
from deploykit.report.runfile import KEEP, RunFile, folder_of
from deploykit.report.style import Paint, is_terminal
from deploykit.report.tables import end_table
from deploykit.stage import Measure
from tests.cli.conftest import result

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MEASURES = {
    "web1": (
        Measure("release", "current", "r2", "r2"),
        Measure("service", "shop.service", "r2", "r1"),
        Measure("service", "odd.service", "r2", "r2", proven=False),
    )
}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def paint() -> Paint:
    """Return what paints nothing."""
    return Paint(io.StringIO())


def test_end_table_puts_wanted_beside_is() -> None:
    """What is not as wanted, and what is not proven, is said in words and not by colour alone."""
    head, *rows = end_table(MEASURES, paint(), 1000)
    assert head.split() == ["host", "what", "name", "wanted", "is"]
    assert rows[0].endswith("ok")
    assert rows[1].endswith("NOT as wanted")
    assert rows[2].endswith("ok, unproven")


def test_a_narrow_table_becomes_blocks() -> None:
    """Where the columns do not fit, every cell has a line of its own and none is cut."""
    lines = end_table(MEASURES, paint(), 40)
    assert max(map(len, lines)) <= 40
    assert "name    shop.service" in lines


def test_nothing_measured_is_no_table() -> None:
    """A run that measured nothing prints no head without rows."""
    assert end_table({"a": ()}, paint(), 80) == []


def test_the_last_sentence_says_how_it_ended() -> None:
    """Done, rolled back, interrupted and stuck differ in words."""
    done = end_lines(result(), paint(), 200)[-1]
    back = end_lines(result(1), paint(), 200)[-1]
    asked = end_lines(result(0, state="rolled_back"), paint(), 200)[-1]
    stopped = end_lines(result(130), paint(), 200)[-1]
    stuck = end_lines(result(3, state="stuck"), paint(), 200)[-1]
    assert "done, release r2 in 1.2 s" in done
    assert "failed and rolled back" in back
    assert "production: rolled back" in asked
    assert "interrupted and rolled back" in stopped
    assert "deploykit rollback production" in stuck


def test_warnings_are_shown() -> None:
    """What went wrong after the run was confirmed is not hidden by its success."""
    assert "warning: disk" in end_lines(result(warnings=("disk",)), paint(), 200)


def test_errors_are_what_state_next() -> None:
    """An error of ours is three lines; a failed command adds the end of its output."""
    error = CheckFailed("the page says 500", state="as before", then="look at it")
    assert explain(error) == "the page says 500\n  as before\n  look at it"
    assert explain(CommandFailed("x failed", output="a\nb")).endswith("  | a\n  | b")


def test_an_unforeseen_error_says_where() -> None:
    """A mistake in a stage is told with file and line, without a page of traceback."""
    try:
        raise KeyError("port")
    except KeyError as error:
        text = explain(error)
        document = failure(error, 1)
    assert "unexpected KeyError: 'port'" in text
    assert "test_results.py:" in text
    assert document is not None
    assert document["kind"] == "KeyError"
    assert failure(None, 0) is None


def test_plan_groups_hosts_that_say_the_same() -> None:
    """Ten hosts with one plan are one paragraph."""
    same = ("current -> r3",)
    lines = {"a": same, "b": same, "c": ("nothing to do",)}
    stage = PlannedStage("publish", dict.fromkeys(lines), lines)
    printed = plan_lines(PlanResult("p", "r3", "c" * 64, (stage,), None, ("mind it",)), paint())
    assert "publish  a, b" in printed
    assert "publish  c" in printed
    assert "note: mind it" in printed


def test_colours_only_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets none, NO_COLOR refuses them, and a dumb terminal understands none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Paint(Terminal())("x", "bad") == "\x1b[1;31mx\x1b[0m"
    assert Paint(io.StringIO())("x", "bad") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Paint(Terminal())("x", "bad") == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert not is_terminal(Terminal())


def test_a_file_that_cannot_be_written_is_one_warning(home: Path) -> None:
    """A state directory that cannot be made stops no run."""
    (home / ".state").write_text("a file, not a folder")
    warnings: list[str] = []
    file = RunFile("production", warnings.append)
    for _ in range(3):
        file({"event": "x", "run": "r1"})
    file.close()
    assert len(warnings) == 1
    assert file.path == ""


def test_old_files_are_let_go() -> None:
    """Only the newest files of an environment are kept."""
    folder = folder_of("a/../b")
    assert folder.parent == folder_of("c").parent
    folder.mkdir(parents=True)
    for number in range(KEEP + 5):
        (folder / f"{number}.jsonl").write_text("")
    file = RunFile("a/../b", print)
    file({"event": "x"})
    file({"event": "y", "run": "../evil"})
    file.close()
    assert len(list(folder.iterdir())) == KEEP
    made = folder / "-evil.jsonl"
    assert [json.loads(line)["event"] for line in made.read_text().splitlines()] == ["x", "y"]


def test_an_error_without_state_is_one_line() -> None:
    """Nothing is made up where an error knows no state."""
    assert explain(DeploykitError("x")) == "x"
