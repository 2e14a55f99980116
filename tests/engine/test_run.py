"""Runs and rollbacks on this machine: what is done, what is undone, and which number says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from deploykit import errors
from deploykit.command import Command
from deploykit.engine import api
from deploykit.engine.events import Event
from deploykit.errors import ConfigurationError, DeploykitError, PlanWrote, Refused
from deploykit.stage import Acting, Measure, Planning
from deploykit.stages import Install, Local, Prune, Shell, Transfer
from tests.engine.conftest import Site
from tests.processes import running

MARK = Shell("mark", do='echo do >>"$DEPLOYKIT_ROOT/log"', undo='echo undo >>"$DEPLOYKIT_ROOT/log"')
FAIL = Shell("fail", do="echo broken; exit 7", undo='echo tidy >>"$DEPLOYKIT_ROOT/log"')


ERRORS: dict[str, type[Exception]] = {
    **vars(errors),
    "ValueError": ValueError,
    "KeyError": KeyError,
}


@dataclass(frozen=True)
class Raises:
    """A stage one of whose methods raises."""

    where: str
    error: str
    name: str = "raises"

    is_check: ClassVar[bool] = True

    def plan(self, ctx: Planning) -> str:
        """Plan, or raise."""
        del ctx
        self._raise("plan")
        return "planned"

    def apply(self, ctx: Acting, plan: str) -> None:
        """Apply, or raise."""
        del ctx, plan
        self._raise("apply")

    def undo(self, ctx: Acting, plan: str) -> None:
        """Undo, or raise, until a file says that it is mended."""
        del plan
        if not ctx.host.query("[ -e mended ]", check=False).ok:
            self._raise("undo")

    def measure(self, ctx: Planning, plan: str, undone: bool) -> tuple[Measure, ...]:
        """Measure, or raise."""
        del ctx, plan
        self._raise("measure" if not undone else "measure undone")
        return ()

    def _raise(self, where: str) -> None:
        if where == self.where:
            raise ERRORS[self.error]("out of order")


@dataclass(frozen=True)
class After(Raises):
    """One that is carried out when the run is confirmed."""

    error: str = "ValueError"
    name: str = "after"

    after_confirmed: ClassVar[bool] = True


@dataclass(frozen=True)
class Measured:
    """A stage whose end is as wanted only where a file is, or is not."""

    name: str = "measured"

    def plan(self, ctx: Planning) -> str:
        """Nothing to plan."""
        del ctx
        return ""

    def apply(self, ctx: Acting, plan: str) -> None:
        """Touch something, so that there is something to undo."""
        del plan
        ctx.host.change(Command("touch", "touch touched"))

    def undo(self, ctx: Acting, plan: str) -> None:
        """Undo."""
        del plan
        ctx.host.change(Command("rm", "rm -f touched"))

    def measure(self, ctx: Planning, plan: str, undone: bool) -> tuple[Measure, ...]:
        """Say whether the file `right` is there."""
        del plan, undone
        right = ctx.host.query("[ -e right ]", check=False).ok
        return (Measure("service", "web", "r1", "r1" if right else "r0"),)


@dataclass(frozen=True)
class Writes:
    """A stage whose plan forgets that it may only look."""

    name: str = "writes"

    def plan(self, ctx: Planning) -> str:
        """Change something."""
        ctx.host.change(Command("x", "touch planned"))  # type: ignore[attr-defined]  # the mistake
        return ""

    def apply(self, ctx: Acting, plan: str) -> None:
        """Never reached."""

    def undo(self, ctx: Acting, plan: str) -> None:
        """Never reached."""


def test_a_run_that_goes_well(site: Site) -> None:
    """Every stage in order, the journal sealed, the release good, the lock free."""
    result = site.run(Transfer("app"), Install("ls >listing"), MARK, Prune(keep=2))
    assert (result.exit_code, result.state, result.warnings) == (0, "sealed", ())
    assert site.lines(f"releases/{result.release}/listing") == ["listing", "main.py"]
    assert [event["stage"] for event in site.events("stage_applied")] == [
        *("transfer", "install", "mark", "prune"),
    ]
    assert not site.is_locked()
    ledger = api.releases(site.environment())[0].ledger
    assert [line.state for line in ledger.lines] == ["good"]


def test_a_failure_goes_back_in_reverse(site: Site) -> None:
    """Also the stage that failed is undone, and what it printed is in the error."""
    result = site.run(Transfer("app"), MARK, FAIL)
    assert (result.exit_code, result.state) == (1, "rolled_back")
    assert "broken" in str(result.error)
    assert site.lines("log") == ["do", "tidy", "undo"]
    assert not site.is_locked()
    assert [line.state for line in api.releases(site.environment())[0].ledger.lines] == ["bad"]


@pytest.mark.parametrize(
    ("where", "error"),
    [("apply", "ValueError"), ("apply", "LinkLost"), ("measure", "KeyError")],
)
def test_any_exception_of_a_stage_goes_back(site: Site, where: str, error: str) -> None:
    """A mistake in a stage of one's own never leaves half a deploy standing."""
    result = site.run(MARK, Raises(where, error))
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert "out of order" in str(result.error)
    assert site.lines("log") == ["do", "undo"]
    assert not site.is_locked()


def test_an_end_that_cannot_be_measured_is_not_as_before(site: Site) -> None:
    """Exit code 1 promises that the hosts are as before; who cannot tell must not say so."""
    result = site.run(MARK, Raises("measure undone", "ValueError"), FAIL)
    assert (result.exit_code, result.state) == (3, "rolled_back")


@pytest.mark.parametrize("error", ["ValueError", "StageFailed", "Refused"])
def test_a_plan_that_fails_touches_nothing(site: Site, error: str) -> None:
    """The lock is free again, no journal is left, and there is nothing to go back from."""
    with pytest.raises(DeploykitError, match="out of order") as failed:
        site.run(MARK, Raises("plan", error))
    assert failed.value.exit_code == (5 if error == "Refused" else 2)
    assert "nothing was touched" in str(failed.value)
    assert site.lines("log") == []
    assert not site.is_locked()
    assert site.histories == []
    assert api.resume(site.environment()) is None
    with pytest.raises(Refused, match="no run to go back from"):
        api.rollback(site.environment())


def test_a_plan_that_writes_is_a_mistake(site: Site) -> None:
    """It is refused before anything happened, and frees the lock."""
    with pytest.raises(PlanWrote, match=r"called change\(\) on one"):
        site.run(Writes())
    assert not (site.root / "planned").exists()
    assert not site.is_locked()


def test_a_build_that_fails_touches_nothing(site: Site) -> None:
    """No host was asked yet: exit code 2, with the last lines of the build."""
    with pytest.raises(DeploykitError, match="no such module") as failed:
        site.run(Local("echo no such module; false"), MARK)
    assert failed.value.exit_code == 2
    assert not site.root.exists()


def test_a_guard_among_the_stages_refuses_with_its_own_number(site: Site) -> None:
    """Undone, and 5: a refusal is no failure of what was deployed."""
    result = site.run(MARK, Raises("apply", "Refused"))
    assert (result.exit_code, result.state) == (5, "rolled_back")
    assert site.lines("log") == ["do", "undo"]


@pytest.mark.parametrize(("error", "refused"), [("CheckFailed", True), ("LinkLost", False)])
def test_only_a_check_s_no_rejects_the_content(site: Site, error: str, refused: bool) -> None:
    """A check that could not be made has said nothing against what was deployed."""
    assert site.run(Transfer("app"), Raises("apply", error)).exit_code == 1
    if not refused:
        assert site.run(Transfer("app")).ok
        return
    with pytest.raises(Refused, match="rolled back before"):
        site.run(Transfer("app"))
    assert api.run(site.environment(Transfer("app")), again=True).ok


def test_an_end_that_is_not_as_wanted_goes_back(site: Site) -> None:
    """Every stage passed, the service did not: the table decides, forward and back."""
    result = site.run(MARK, Measured())
    assert result.exit_code == 3
    assert "hosts are not as before" in str(result.error)
    assert "web is r0" in str(result.error)
    (site.root / "right").touch()
    assert site.run(MARK, Measured()).exit_code == 0


def test_an_undo_that_fails_is_stuck_until_a_rollback(site: Site) -> None:
    """Nothing earlier is touched, the lock stays, a run is refused, and `rollback` finishes."""
    stages = (MARK, Raises("undo", "ValueError"), FAIL)
    result = site.run(*stages)
    assert (result.exit_code, result.state) == (3, "stuck")
    assert "raises cannot be undone on one" in str(result.error)
    assert site.lines("log") == ["do", "tidy"]
    assert site.is_locked()
    with pytest.raises(Refused, match=r"unfinished \(stuck\)"):
        site.run(MARK)
    assert api.rollback(site.environment()).exit_code == 3
    (site.root / "mended").touch()
    result = api.rollback(site.environment())
    assert (result.exit_code, result.state) == (0, "rolled_back")
    assert site.lines("log")[-1] == "undo"
    assert not site.is_locked()
    assert site.run(MARK).ok


def test_a_rollback_by_hand_that_was_stuck_can_be_finished(site: Site) -> None:
    """Of a finished run: stuck once, it is done by the next try, and the lock is let go."""
    assert site.run(MARK, Raises("undo", "ValueError")).ok
    stuck = api.rollback(site.environment())
    assert (stuck.exit_code, stuck.state) == (3, "stuck")
    assert site.is_locked()
    (site.root / "mended").touch()
    assert api.rollback(site.environment()).exit_code == 0
    assert site.lines("log") == ["do", "undo"]
    assert not site.is_locked()
    assert api.resume(site.environment()) is None
    assert site.run(MARK).ok


def test_a_rollback_goes_back_run_by_run(site: Site) -> None:
    """Newest first, down to the release that was named, which stays."""
    releases = []
    for number in range(3):
        (site.project / "app" / "main.py").write_text(str(number))
        do = f'echo do {number} >>"$DEPLOYKIT_ROOT/log"'
        undo = f'echo undo {number} >>"$DEPLOYKIT_ROOT/log"'
        result = site.run(Transfer("app"), Shell("mark", do=do, undo=undo))
        releases.append(result.release)
    with pytest.raises(Refused, match="names no release"):
        api.rollback(site.environment(), "19990101")
    with pytest.raises(Refused, match="newest release already"):
        api.rollback(site.environment(), releases[2])
    assert api.rollback(site.environment(), releases[0]).exit_code == 0
    assert site.lines("log")[3:] == ["undo 2", "undo 1"]
    states = {run.release: run.state for run in api.runs(site.environment())}
    assert [states[release] for release in releases] == ["sealed", "rolled_back", "rolled_back"]


def test_a_failure_after_confirmed_is_a_warning(site: Site) -> None:
    """What is confirmed stays, and the warning is in the result."""
    result = api.run(site.environment(MARK, After("apply")), listeners=[])
    assert (result.exit_code, result.state) == (0, "sealed")
    assert "out of order" in result.warnings[0]
    assert site.lines("log") == ["do"]


def test_a_listener_that_fails_changes_nothing(site: Site) -> None:
    """Whoever reads the log may hang up at any time."""

    def hangs_up(event: Event) -> None:
        raise BrokenPipeError

    result = api.run(site.environment(MARK, FAIL), listeners=[hangs_up, site.told.append])
    assert (result.exit_code, result.state) == (1, "rolled_back")
    assert site.events("listener_failed")


def test_a_password_like_a_word_of_ours_harms_nothing(site: Site) -> None:
    """A journal is exact whatever is secret, and events do not show it."""
    secret = "deploykit"
    site.root.mkdir()
    (site.root / ".env").write_text(f"DB_PASSWORD={secret}x\nAPI_TOKEN='{secret}'\n")
    show = Shell("show", do='echo "it is <$API_TOKEN>"; [ "$API_TOKEN" = ' + f'"{secret}" ]')
    result = site.run(MARK, show, FAIL, env_file=".env")
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert site.lines("log") == ["do", "tidy", "undo"]
    assert site.events("command_output")[0]["text"] == "it is <***>"


def test_a_variable_that_no_shell_can_export_is_left_to_the_application(site: Site) -> None:
    """`spring.port` in an env_file is nobody's mistake, and runs no command."""
    site.root.mkdir()
    (site.root / ".env").write_text("spring.port=1\nA-B=2\nx;touch evil=3\nGOOD=4\n")
    result = site.run(Shell("show", do='echo "$GOOD" >log'), env_file=".env")
    assert result.ok, result.error
    assert site.lines("log") == ["4"]
    assert not list(site.root.glob("*evil*"))


def test_an_env_file_that_is_missing_names_the_command(site: Site) -> None:
    """Nothing is touched without it, and `shared put` brings it."""
    with pytest.raises(ConfigurationError, match="is not on one") as missing:
        site.run(MARK, env_file="shared/.env")
    assert "deploykit shared put production .env" in missing.value.then
    assert not site.is_locked()


def test_output_is_told_line_by_line_to_its_end(site: Site) -> None:
    """Also a last line without an end, and bytes that are no text."""
    show = Shell("show", do="printf 'one\\ntwo\\377\\nno end'")
    assert site.run(show).ok
    said = [event["text"] for event in site.events("command_output")]
    assert said == ["one", "two\ufffd", "no end"]


def test_a_command_that_takes_too_long_is_stopped_and_undone(site: Site) -> None:
    """With what it started; the error names the time."""
    slow = Shell("slow", do="sleep 3.1415 & sleep 3.1415; touch slept", timeout=1.0)
    result = site.run(MARK, slow)
    assert result.exit_code == 1
    assert "took longer than 1 s and was stopped" in str(result.error)
    assert not running("sleep 3.1415")
    assert not (site.root / "slept").exists()
    assert site.lines("log") == ["do", "undo"]


def test_a_run_whose_journal_cannot_be_written_touches_nothing(site: Site) -> None:
    """The lock is free again, and the error is the one that matters."""

    @dataclass(frozen=True)
    class InTheWay:
        """A stage whose planning puts a file where the run's journal is to be."""

        name: str = "in-the-way"

        def plan(self, ctx: Planning) -> str:
            """Be in the way."""
            (site.root / ".deploykit/runs").joinpath(ctx.run.id).write_text("a file")
            return ""

        def apply(self, ctx: Acting, plan: str) -> None:
            """Never reached."""

        def undo(self, ctx: Acting, plan: str) -> None:
            """Never reached."""

    with pytest.raises(DeploykitError, match="cannot make the folder") as failed:
        site.run(MARK, InTheWay())
    assert failed.value.exit_code == 2
    assert site.lines("log") == []
    assert not site.is_locked()


def test_a_name_that_only_unicode_ends_a_line_in_survives(site: Site) -> None:
    """A plan that holds U+2028 or U+0085 is read back, or its stage would never be undone."""
    (site.project / "app" / "a\u2028b\x85c").write_text("x" * 100)
    result = site.run(Transfer("app"), MARK, FAIL)
    assert (result.exit_code, site.lines("log")) == (1, ["do", "tidy", "undo"])
    assert {name for name, _ in site.histories[0].plans()} == {"transfer", "mark", "fail"}
