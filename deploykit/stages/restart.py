"""Restart: publish the release and restart its services, as one stage that is undone as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from deploykit import publishing
from deploykit.command import Command
from deploykit.errors import ConfigurationError, StageFailed
from deploykit.layout import Layout
from deploykit.publishing import Mark
from deploykit.services import Place, Service
from deploykit.services.base import Verb
from deploykit.services.choosing import chosen
from deploykit.services.facts import PROCESSES, Facts
from deploykit.services.proof import running_release
from deploykit.services.proving import Claim, failed, look, prove, says_release
from deploykit.stage import Acting, Measure, Placement, Planning

__all__ = ["Restart", "RestartPlan"]

LINK = "current"
PATIENCE = 600.0  # seconds for one service's command: its manager has limits of its own


@dataclass(frozen=True)
class RestartPlan:
    """
    What a restart changes on one host.

    Args:
        root: the pipeline's root.
        run: the run's id.
        release: what will be published.
        before: the release published before; empty if there was none.
        target: what the link contained, word for word; empty if it was not there.
        services: labels, in the order in which they are restarted.
        active: whether each ran.
        paused: whether each was stopped by an earlier `Pause`, and is to be started here.
        was: the main processes of each, as `Facts.identity` names them; empty where they do not
            tell whether it is still what ran before.
    """

    root: str
    run: str
    release: str
    before: str
    target: str
    services: tuple[str, ...]
    active: tuple[bool, ...]
    paused: tuple[bool, ...]
    was: tuple[str, ...]

    def describe(self) -> tuple[str, ...]:
        """Return what `deploykit plan` prints."""
        lines = [f"publish {self.release} (now: {self.before or self.target or 'nothing'})"]
        for label, active, paused in zip(self.services, self.active, self.paused, strict=True):
            verb = "start" if paused or not active else "restart"
            note = " (not running now)" if not active and not paused else ""
            lines.append(f"{verb} {label}{note}")
        return tuple(lines)


@dataclass(frozen=True, init=False)
class Restart:
    """
    Publish the release, restart services, and prove that their processes are the new release's.

    Host by host. Undone as one: the link goes back, then the services. Where an earlier `Pause`
    stopped a service, it is started here, and the undo leaves it stopped for `Pause` to start.

    Args:
        services: systemd units by name, or values such as `Supervisor("worker")`.
        unproven: accept a service of which nothing can show which release it runs.
        within: seconds until the services must be proved.
        url: a page, fetched on each host, that answers the release's id: the proof where the
            processes cannot show it.
        on: the role of its hosts; all by default.
        name: the stage's name.
    """

    placement: ClassVar[Placement] = "serial"
    publishes: ClassVar[bool] = True

    services: tuple[Service, ...]
    unproven: bool
    within: float
    url: str | None
    on: str | None
    name: str = "restart"

    def __init__(
        self,
        *args: str | Service,
        services: Iterable[str | Service] = (),
        unproven: bool = False,
        within: float = 30,
        url: str | None = None,
        on: str | None = None,
        name: str = "restart",
    ) -> None:
        found = chosen("Restart", (*args, *services))
        for service in found:
            if not (service.provable or unproven or url):
                raise ConfigurationError(
                    f"Restart: nothing shows which release {service.label} runs",
                    then="name a page that answers the release's id, url=…, or write unproven=True",
                )
        fields = {"unproven": unproven, "within": within, "url": url, "on": on, "name": name}
        for key, value in {"services": found, **fields}.items():
            object.__setattr__(self, key, value)

    @property
    def starts(self) -> tuple[str, ...]:
        """Return the labels of its services."""
        return tuple(service.label for service in self.services)

    def sudo_rules(self, user: str) -> tuple[str, ...]:
        """Return the lines of sudoers that let *user* do all that this stage may have to do."""
        verbs: frozenset[Verb] = frozenset({"restart", "start", "stop"})
        return tuple(rule for s in self.services for rule in s.sudo_rules(user, verbs))

    def plan(self, ctx: Planning) -> RestartPlan:
        """Remember what is published and what runs."""
        link = publishing.remembered(ctx, LINK)
        paused = self._paused(ctx)
        place = Place(ctx.layout, link.release)
        seen = [
            service.survey(ctx, place, _verbs(service.label in paused)) for service in self.services
        ]
        return RestartPlan(
            root=ctx.layout.root,
            run=ctx.run.id,
            release=ctx.run.release,
            before=link.release,
            target=link.target,
            services=self.starts,
            active=tuple(facts.up for facts in seen),
            paused=tuple(service.label in paused for service in self.services),
            was=tuple(
                facts.identity if facts.up and service.identity_script(place) else ""
                for service, facts in zip(self.services, seen, strict=True)
            ),
        )

    def apply(self, ctx: Acting, plan: RestartPlan) -> None:
        """Move the link, then restart each service, then prove them all."""
        mark = publishing.publish(ctx, LINK, plan.target)
        place = Place(ctx.layout, plan.release)
        for service, paused in zip(self.services, plan.paused, strict=True):
            verb = "start" if paused else "restart"
            script = service.start_script(place) if paused else service.restart_script(place)
            command = Command(f"{verb}:{service.label}", script, timeout=PATIENCE, again=True)
            done = ctx.host.change(command, check=False)
            if not done.ok:
                said = look(ctx, service, place).said
                why = f"its {verb} failed (exit {done.exit_code}); it is {said}"
                raise failed(ctx, service, plan.release, why)
        claims = [Claim(service, place, mark) for service in self.services]
        prove(ctx, claims, within=self.within, url=self.url, unproven=self.unproven)

    def undo(self, ctx: Acting, plan: RestartPlan) -> None:
        """Bring link and services back, and prove that the release before runs again."""
        script = self.undo_script(plan)
        done = publishing.move(ctx, script, LINK, PATIENCE * (1 + len(self.services)))
        place = Place(ctx.layout, plan.before)
        if not done.ok:
            raise self._not_undone(ctx, plan, place, done.output)
        mark = Mark.printed_in(done.output)
        claims = [
            Claim(service, place, mark)
            for service, kept, was in zip(self.services, self._kept(plan), plan.was, strict=True)
            if kept and not (was and look(ctx, service, place).identity == was)
        ]
        if claims and plan.before:
            prove(ctx, claims, within=self.within, url=self.url, unproven=self.unproven)

    def undo_script(self, plan: RestartPlan) -> str:
        """
        Return the whole undo on one host, as shell; a guardian runs the very same.

        It needs `as_root` and `may_root`, and may be run any number of times, after an `apply` cut
        anywhere: a service whose main process is the one that ran before is left alone.
        """
        layout = Layout(plan.root)
        place = Place(layout, plan.before)
        before, after = [], []
        for service, kept, was in zip(self.services, self._kept(plan), plan.was, strict=True):
            if not kept:
                before.append(_apart(service.stop_script(place)))
            else:
                again = _apart(service.restart_script(place))
                after.append(_unless(service.identity_script(place), was, again) if was else again)
        back = publishing.undo_move(layout, LINK, plan.run, plan.target, plan.before)
        parts = [PROCESSES, publishing.MOVING, "dk_failed=0", *before, back, *after]
        return "\n".join([*parts, 'exit "$dk_failed"', ""])

    def measure(self, ctx: Planning, plan: RestartPlan, undone: bool) -> list[Measure]:
        """Return the published release, and the one that each service runs."""
        release = plan.before if undone else plan.release
        looked = [look(ctx, service, Place(ctx.layout, release)) for service in self.services]
        here = publishing.measured(ctx, LINK, looked[0].ground.target if looked else "")
        found = [Measure("release", LINK, release or "none", here)]
        for service, active, facts in zip(self.services, plan.active, looked, strict=True):
            target, proven = release or "running", True
            if undone and not active:
                target = "stopped"
            if not facts.up:
                is_ = "stopped"
            elif not release:
                is_ = "running"
            else:
                is_, proven = self._running(ctx, service, facts, release)
            found.append(Measure("service", service.label, target, is_, proven))
        return found

    def _running(
        self, ctx: Planning, service: Service, facts: Facts, wanted: str
    ) -> tuple[str, bool]:
        """Return the release that a service runs, and whether that is proved."""
        if facts.checked:
            return wanted, True
        if facts.processless:
            return facts.ground.link, True
        seen = running_release(facts, reloads=service.reloads)
        if seen:
            return seen, True
        if self.url and not says_release(ctx, self.url, wanted):
            return wanted, True
        return (facts.ground.link, False) if self.unproven else ("unknown", True)

    def _paused(self, ctx: Planning) -> set[str]:
        """Return the labels of services that stages before this one stop."""
        paused: set[str] = set()
        for name, stage in ctx.stages.items():
            if name == self.name:
                break
            paused -= set(getattr(stage, "starts", ()))
            paused |= set(getattr(stage, "pauses", ()))
        return paused

    def _kept(self, plan: RestartPlan) -> list[bool]:
        """Return whether the undo leaves each service running."""
        return [
            active and not paused for active, paused in zip(plan.active, plan.paused, strict=True)
        ]

    def _not_undone(self, ctx: Acting, plan: RestartPlan, place: Place, output: str) -> StageFailed:
        for service, kept in zip(self.services, self._kept(plan), strict=True):
            facts = look(ctx, service, place)
            if kept and not facts.up:
                return failed(ctx, service, plan.before, f"it is {facts.said}")
        last = (output.strip().splitlines() or ["it printed nothing"])[-1]
        return StageFailed(f"{self.name} on {ctx.host.name} could not be undone: {last}")


def _verbs(paused: bool) -> frozenset[Verb]:
    return frozenset({"start", "stop"} if paused else {"restart", "stop"})


def _apart(script: str) -> str:
    """Return *script* such that its failure is noted and what follows still runs."""
    return f"set +e\n(\nset -e\n{script}\n)\n[ $? = 0 ] || dk_failed=1\nset -e" if script else ""


def _unless(identity: str, was: str, script: str) -> str:
    """Return *script* unless the main processes are still those that ran before."""
    word = "'" + was + "'"  # boot id, ids and ticks: nothing that a shell would take for its own
    return f'if [ "$(\n{identity}\n)" != {word} ]; then\n{script}\nfi'
