"""Carries out an example, and checks after each controller all that must hold by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hypothesis import currently_in_test_context, event, note

from deploykit import Environment, Host, Pipeline
from deploykit.engine import api
from deploykit.engine.journal import History
from deploykit.engine.outcome import RunResult
from deploykit.errors import DeploykitError
from tests.engine.machine.cases import Act, Case, Trouble, Verb
from tests.engine.machine.fakes import Fake, Item
from tests.engine.machine.sight import Course, Sight, Site
from tests.engine.machine.world import Died, World

__all__ = ["HOSTS", "Play"]

HOSTS = {"one": "db", "two": "web", "three": "web"}
TRIES = 2  # of a resume or rollback that nothing befalls any more

Came = RunResult | DeploykitError | Died | None


@dataclass
class Play:
    """
    One example under way.

    Args:
        case: the example.
        world: its hosts.
        project: a local folder.
        was_gone: a host may have been gone for a while.
        was_guarded: a guardian has fired.
        was_joined: another controller has come while one was at work.
    """

    case: Case
    world: World
    project: Path
    was_gone: bool = field(default=False, init=False)
    was_guarded: bool = field(default=False, init=False)
    was_joined: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        names = tuple(HOSTS)[: self.case.hosts]
        self._hosts = tuple(Host("local:", name=name, roles={HOSTS[name]}) for name in names)
        roles = {HOSTS[name] for name in names}
        self._stages = tuple(
            stage if stage.on in roles else replace(stage, on=None) for stage in self.case.stages
        )
        chosen = {
            stage.name: tuple(host.label for host in self._environment().hosts_of(stage.on))
            for stage in self._stages
        }
        firsts = {stage.name for stage in self._stages if stage.placement == "first"}
        where = {stage: hosts[:1] if stage in firsts else hosts for stage, hosts in chosen.items()}
        self.site = Site(self.world, names, self._stages, where)
        self.site.found()
        self._course = Course(self.site)

    def do(self) -> None:
        """Do everything, and leave nothing unfinished."""
        for act in self.case.acts:
            self.act(act)
        self.finish()

    def act(self, act: Act) -> Came:
        """Let one controller, or the guardians, do their work, and look at what came of it."""
        before = self.site.look()
        self.was_gone |= any(fault.what in ("cut", "power") for fault in act.faults)
        self.was_gone |= any(trouble.what.startswith("die") for trouble in act.troubles)
        faults = [replace(fault, at=fault.at % self._calls) for fault in act.faults]
        other = partial(self.act, Act(act.other))
        with self.world.controller(faults, other) as controller, self._troubled(act.troubles):
            came = self._attempt(act)
        self.site.pass_time()
        sight = self.site.look()
        self.was_joined |= any(fault.what == "other" for fault in controller.struck)
        struck: set[str] = {fault.what for fault in controller.struck}
        if currently_in_test_context():  # of Hypothesis, which alone takes notes
            note(f"{act.verb}: {_told(came)} {sorted(struck)}")
            event(f"{act.verb}: {_told(came).split(':')[0]}")
            for fault in controller.struck:
                event(f"{fault.what} {fault.when}")
        sight.check(may_leave_behind=self.was_gone, was_guarded=self.was_guarded)
        self._course.follow(sight)
        if act.verb != "guardian" and not isinstance(came, Died):
            self._check_answer(act, came, before, sight, struck)
        assert sight.locks or not sight.unfinished, "unfinished, and nothing is locked"
        return came

    def finish(self) -> None:
        """Finish what is unfinished, now that nothing befalls anybody, and deploy again."""
        before = self.site.look()
        if before.unfinished:
            came = self.act(Act("run"))
            assert isinstance(came, DeploykitError), f"run over an unfinished run: {came}"
            assert came.exit_code == 5, f"{came.exit_code}: {came}"
        verbs: list[Verb] = [self.case.end, "rollback"]
        for verb in verbs:
            if self.site.look().unfinished:
                self.act(Act(verb))
        if self.site.look().locks:
            self.act(Act("resume"))  # the lock of a run that is finished, or never began
        sight = self.site.look()
        assert not sight.unfinished, "it cannot be finished"
        assert not sight.locks, f"locked: {sight.locks}"
        came = self.act(Act("run"))
        assert isinstance(came, RunResult), f"cannot run: {came}"
        assert came.exit_code == 0, f"{came.error}"
        left = self.world.leftovers(self.site.names)
        if self.was_joined:  # who writes a file on while another one takes over is not fenced there
            left = [line for line in left if not line.endswith(".part")]
        assert not left, f"left: {left}"

    @property
    def _calls(self) -> int:
        """About how many calls a run makes."""
        work = sum(4 + 2 * len(stage.items) for stage in self._stages)
        return (13 + work) * len(self._hosts)

    def _environment(self, *, is_other: bool = False) -> Environment:
        stages = (Fake("other", (Item("k0", "once", "once"),)),) if is_other else self._stages
        pipeline = Pipeline(app="shop", root=self.world.root, stages=stages)
        return Environment(pipeline, hosts=self._hosts, name="production", project=self.project)

    def _attempt(self, act: Act) -> Came:
        if act.verb == "guardian":
            self._guard(act)
            return None
        environment = self._environment(is_other=act.is_other and act.verb != "run")
        try:
            if act.verb == "run":
                return api.run(environment, again=True)
            verb: Callable[..., RunResult | None] = getattr(api, act.verb)
            return verb(environment, takeover=len(self.world.controllers) > 1)
        except (DeploykitError, Died) as error:
            return error

    def _guard(self, act: Act) -> None:
        for name in self.site.names:
            fired = self.world.fire(name)
            self.was_guarded |= fired
            if fired and currently_in_test_context():
                event("guardian fired")
            if fired and act.is_other:
                return

    @contextmanager
    def _troubled(self, troubles: Sequence[Trouble]) -> Iterator[None]:
        places = [place for stage in self._stages for place in _places(stage)]
        files = {}
        for trouble in troubles:
            host = self.site.names[trouble.host % len(self.site.names)]
            folder = self.site.folder(host) / "shared" / "trouble"
            files[folder / places[trouble.place % len(places)]] = trouble.what
        for file, what in files.items():
            file.write_text(f"{what}\n")
        try:
            yield
        finally:
            for file in files:
                file.unlink(missing_ok=True)

    def _check_answer(
        self,
        act: Act,
        came: RunResult | DeploykitError | None,
        before: Sight,
        sight: Sight,
        struck: set[str],
    ) -> None:
        """Check that what a controller says is so."""
        touched = [] if "other" in struck else sight.touched_since(before)
        if came is None:
            assert act.verb == "resume"
            assert not sight.unfinished
        elif isinstance(came, DeploykitError):
            assert came.exit_code in (2, 4, 5, 130), f"{came.exit_code}: {came}"
            assert not touched, f"{touched} touched, and {came!r} raised"
        else:
            run = sight.runs.get(came.run, History(came.run, {}))
            if run.state == "empty":
                assert (came.exit_code, act.verb) == (0, "rollback"), f"{came} of an empty run"
                assert not touched, f"{touched} touched by undoing nothing"
            else:
                self._check_code(act, came, run, sight, struck)
            if not struck & {"cut", "power", "other"} and not self.was_gone:
                assert came.state == run.state, f"{came.state} is {run.state}"
                assert came.exit_code == 3 or not sight.locks, f"left locked: {sight.locks}"

    def _check_code(
        self, act: Act, came: RunResult, run: History, sight: Sight, struck: set[str]
    ) -> None:
        """Check that an exit code agrees with the run's state."""
        code, state = came.exit_code, run.state
        said = f"{act.verb}: {code}, and {state}: {came.error}"
        if code == 0 and state == "rolled_back":
            asked = act.verb == "rollback" or any(map(_is_rollback, sight.runs.values()))
            assert asked, said
        elif code == 0:
            assert state in ("confirmed", "sealed"), said
            assert act.verb != "rollback" or _is_rollback(run), said  # one that was done already
        elif code in (1, 5, 130):
            assert act.verb != "rollback", said
            assert state == "rolled_back", said
        elif code == 4:
            assert "other" in struck, said
        else:
            assert code == 3, said
            assert state in ("back", "stuck") or struck or self.was_gone, said


def _is_rollback(run: History) -> bool:
    return (run.opening or {}).get("action") == "rollback"


def _places(stage: Fake) -> list[str]:
    commands = [f"{way}.{item.key}" for item in stage.items for way in ("apply", "undo")]
    return [f"{stage.name}.{place}" for place in (*commands, *commands, "check", "stale", "plan")]


def _told(came: Came) -> str:
    if isinstance(came, RunResult):
        return f"{came.exit_code} {came.state}: {came.error}"
    if isinstance(came, DeploykitError):
        return f"{type(came).__name__} {came.exit_code}: {came}"
    return "died" if isinstance(came, Died) else "nothing"
