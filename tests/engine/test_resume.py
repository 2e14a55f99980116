"""A controller that is killed: another process finishes or undoes its run, from the journal."""

from __future__ import annotations

from typing import Any

import pytest

from deploykit.engine import api, lock
from deploykit.engine.events import Event
from deploykit.errors import JournalError, LockHeld, Refused
from deploykit.report.words import line_of
from tests.engine.conftest import Site
from tests.farm import eventually
from tests.processes import running

LOG = '"$DEPLOYKIT_ROOT/log"'
ONE = f"Shell('one', do='echo one >>{LOG}', undo='echo un-one >>{LOG}')"
TWO = ONE.replace("one", "two")
GOOD = f"Transfer('app'), {ONE}, {TWO}"
BAD = f"{GOOD}, Shell('fail', do='exit 1')"
FORWARD, BACK, NOTHING = ["one", "two"], ["one", "two", "un-two", "un-one"], list[str]()


@pytest.mark.parametrize(
    ("event", "number", "log"),
    [
        ("stage_planned", 2, NOTHING),
        ("stage_started", 1, FORWARD),
        ("run_confirmed", 1, FORWARD),
    ],
)
def test_resume_goes_on_forward(site: Site, event: str, number: int, log: list[str]) -> None:
    """Every effect once; a run that had no journal touched nothing, and frees its lock."""
    production = site.declare(GOOD)
    site.killed("run", event, number)
    assert site.is_locked()
    with pytest.raises(Refused, match="is unfinished") as refused:
        api.run(production)
    assert "deploykit rollback production" in refused.value.then
    result = api.resume(production)
    assert site.lines("log") == log
    assert not site.is_locked()
    if log:
        assert result is not None
        assert (result.exit_code, result.state) == (0, "sealed")
        assert [line.state for line in api.releases(production)[0].ledger.lines] == ["good"]
    assert api.resume(production) is None


def unseen(site: Site, monkeypatch: pytest.MonkeyPatch, until: str) -> None:
    """Have nobody see the newest run's journal until *until*, of the lock, is called."""
    journal = max((site.root / ".deploykit" / "runs").glob("*/journal.jsonl"))
    aside = journal.rename(journal.with_name("aside"))
    taken = getattr(lock, until)

    def take(*words: Any, **options: Any) -> int:
        if aside.exists():
            aside.rename(journal)
        epoch: int = taken(*words, **options)
        return epoch

    monkeypatch.setattr(lock, until, take)


@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_a_run_is_not_let_go_that_has_begun_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Its controller wrote its plans after we looked, and before we fenced it."""
    production = site.declare(GOOD)
    site.killed("run", "stage_started")
    unseen(site, monkeypatch, "take_over")
    result = getattr(api, verb)(production)
    assert result is not None
    assert result.state == ("sealed" if verb == "resume" else "rolled_back")
    assert site.lines("log") == (FORWARD if verb == "resume" else NOTHING)
    assert not site.is_locked()


def test_a_rollback_is_refused_over_a_run_that_has_begun_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would undo an older one beneath it."""
    production = site.declare(GOOD)
    assert api.run(production).ok
    site.killed("run", "stage_started")
    assert api.lock_release(production, force=True)
    unseen(site, monkeypatch, "take")
    with pytest.raises(Refused, match="is unfinished") as refused:
        api.rollback(production)
    assert "deploykit rollback production" in refused.value.then
    assert site.lines("log") == FORWARD
    assert not site.is_locked()


@pytest.mark.parametrize(
    ("event", "number"),
    [("stage_undone", 1), ("run_rolled_back", 1)],
)
def test_resume_goes_on_backward(site: Site, event: str, number: int) -> None:
    """A run that turned back never turns forward again, also with nothing but its lock left."""
    production = site.declare(BAD)
    site.killed("run", event, number)
    result = api.resume(production)
    assert result is not None
    assert (result.exit_code, result.state) == (1, "rolled_back")
    assert site.lines("log") == BACK
    assert not site.is_locked()
    assert [line.state for line in api.releases(production)[0].ledger.lines] == ["bad"]


@pytest.mark.parametrize(
    ("event", "number", "log"),
    [
        ("command_ended", 3, ["one", "un-one"]),
        ("run_rolled_back", 1, BACK),
    ],
)
def test_rollback_undoes_what_was_done(site: Site, event: str, number: int, log: list[str]) -> None:
    """Only what was touched, exit code 0, and never the run before it."""
    assert api.run(site.declare("Shell('before', do='true')")).ok
    production = site.declare(BAD if event == "run_rolled_back" else GOOD)
    site.killed("run", event, number)
    result = api.rollback(production)
    assert (result.exit_code, result.state) == (0, "rolled_back")
    assert site.lines("log") == log
    assert not site.is_locked()
    assert [run.state for run in api.runs(production)] == ["rolled_back", "sealed"]


def test_a_rollback_that_is_killed_is_finished_by_resume(site: Site) -> None:
    """Of a finished run: as a run of its own, which the next process goes on with."""
    production = site.declare(GOOD)
    assert api.run(production).ok
    site.killed("rollback", "stage_undone", 1)
    assert site.is_locked()
    result = api.resume(production)
    assert result is not None
    assert (result.exit_code, result.state) == (0, "rolled_back")
    assert site.lines("log") == BACK
    assert not site.is_locked()


def test_a_command_that_outlives_its_controller_is_joined(site: Site) -> None:
    """It is neither repeated nor stopped, and its whole output is told."""
    slow = "Shell('slow', do='echo began; until [ -e go ]; do sleep 0.05; done; echo once >>log')"
    production = site.declare(slow.replace(">>log", '>>"$DEPLOYKIT_ROOT/log"'))
    site.killed("run", "command_output", 1)
    (site.root / "go").touch()
    result = api.resume(production, listeners=[site.told.append])
    assert result is not None
    assert result.ok
    assert site.lines("log") == ["once"]
    assert [event["text"] for event in site.events("command_output")] == ["began"]


def test_a_command_that_outlives_its_controller_is_stopped_before_it_is_undone(site: Site) -> None:
    """With everything it started."""
    production = site.declare(
        "Shell('slow', do='echo began; sleep 271.828 & sleep 271.828', undo='touch undone')"
    )
    site.killed("run", "command_output", 1)
    assert running("sleep 271.828")
    assert api.rollback(production).exit_code == 0
    assert running("sleep 271.828") == []
    assert (site.root / "undone").exists()


def test_an_edited_deploy_py_cannot_bend_it(site: Site) -> None:
    """Resume carries out what the journal says, and shows what stands in the file by now."""
    site.declare(GOOD)
    site.killed("run", "stage_applied", 2)
    production = site.declare("Shell('other', do='echo other >>\"$DEPLOYKIT_ROOT/log\"')")
    told: list[Event] = []
    assert api.resume(production, listeners=[told.append]) is not None
    assert site.lines("log") == FORWARD
    differs = next(event for event in told if event["event"] == "declaration_differs")
    assert differs["differences"][-1] == "other: only in deploy.py"
    line = line_of(differs)
    assert line is not None
    assert line.text.splitlines()[1] == "  transfer: only in the run"


def test_an_upload_without_its_contents_goes_back(site: Site) -> None:
    """The source has changed since: there is nothing to complete the release with."""
    production = site.declare(GOOD)
    site.killed("run", "stage_started", 1)
    (site.project / "app" / "main.py").write_text("edited\n")
    result = api.resume(production)
    assert result is not None
    assert (result.exit_code, result.state) == (1, "rolled_back")
    assert "contents are not here" in str(result.error)
    assert not site.is_locked()


def test_a_stage_that_is_not_here_is_said_so(site: Site) -> None:
    """Exit code 5, and the run stays for whoever has the module."""
    (site.project / "own_stage_here.py").write_text(
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Own:\n"
        "    name: str = 'own'\n    def plan(self, ctx): return ''\n"
        "    def apply(self, ctx, plan): pass\n    def undo(self, ctx, plan): pass\n"
    )
    file = site.project / "deploy.py"
    production = site.declare(GOOD)
    text = file.read_text()
    file.write_text(text.replace("stages = [", "from own_stage_here import Own\nstages = [Own(), "))
    site.killed("run", "stage_applied", 2)
    file.write_text(text)
    (site.project / "own_stage_here.py").unlink()
    with pytest.raises(JournalError, match="own_stage_here:Own, which cannot be imported") as gone:
        api.resume(production)
    assert gone.value.exit_code == 5
    assert site.is_locked()


def test_a_controller_at_work_is_not_disturbed(site: Site) -> None:
    """Neither `run` nor `resume` nor `rollback` takes its run, until somebody says so."""
    production = site.declare(
        "Shell('slow', do='touch began; until [ -e go ]; do sleep 0.05; done', undo='touch undone')"
    )
    with site.controller("run", "never", "1") as controller:
        eventually((site.root / "began").exists)
        for verb in (api.run, api.resume, api.rollback):
            with pytest.raises(LockHeld):
                verb(production)
        result = api.rollback(production, takeover=True)
        assert result.exit_code == 0
        assert (site.root / "undone").exists()
        assert controller.wait(30) != 0
    assert not site.is_locked()
    assert [run.state for run in site.histories] == ["rolled_back"]


def test_a_journal_that_is_not_on_all_hosts_never_goes_forward(site: Site) -> None:
    """A run that was cut while its plans were being written is taken back, and frees its lock."""
    production = site.declare(GOOD)
    site.killed("run", "stage_started", 1)
    journal = next((site.root / ".deploykit" / "runs").glob("*/journal.jsonl"))
    whole = journal.read_text().split("\n")
    journal.write_text("\n".join(whole[:2]) + "\n" + whole[2][:20])
    result = api.resume(production)
    assert result is not None
    assert (result.exit_code, result.state) == (1, "rolled_back")
    assert site.lines("log") == []
    assert not site.is_locked()
