"""Pause: stop services until a later `Restart`, or the undo, starts them."""

from __future__ import annotations

import time
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
from deploykit.services.proving import Claim, failed, look, prove
from deploykit.stage import Acting, Placement, Planning

__all__ = ["Pause", "PausePlan"]

PATIENCE = 600.0  # seconds for one service's command: its manager has limits of its own


@dataclass(frozen=True)
class PausePlan:
    """
    What a pause changes on one host.

    Args:
        root: the pipeline's root.
        services: labels, in the order in which they are stopped.
        active: whether each ran.
        before: the release that is published meanwhile; empty if there is none.
    """

    root: str
    services: tuple[str, ...]
    active: tuple[bool, ...]
    before: str

    def describe(self) -> tuple[str, ...]:
        """Return what `deploykit plan` prints."""
        return tuple(
            f"stop {label}" if active else f"leave {label} stopped"
            for label, active in zip(self.services, self.active, strict=True)
        )


@dataclass(frozen=True, init=False)
class Pause:
    """
    Stop services before what they must not see; a later `Restart` has to name each of them.

    Undone last of all that comes after it: the old code starts when its data is back.

    Args:
        services: systemd units by name, or values such as `Supervisor("worker")`.
        within: seconds until a service must be down, or on undo up.
        on: the role of its hosts; all by default.
        name: the stage's name.
    """

    placement: ClassVar[Placement] = "each"

    services: tuple[Service, ...]
    within: float
    on: str | None
    name: str = "pause"

    def __init__(
        self,
        *args: str | Service,
        services: Iterable[str | Service] = (),
        within: float = 30,
        on: str | None = None,
        name: str = "pause",
    ) -> None:
        found = chosen("Pause", (*args, *services))
        for service in found:
            if not service.stoppable:
                raise ConfigurationError(f"Pause: {service.label} cannot be stopped and started")
        for key, value in {"services": found, "within": within, "on": on, "name": name}.items():
            object.__setattr__(self, key, value)

    @property
    def pauses(self) -> tuple[str, ...]:
        """Return the labels of its services."""
        return tuple(service.label for service in self.services)

    def sudo_rules(self, user: str) -> tuple[str, ...]:
        """Return the lines of sudoers that let *user* do all that this stage may have to do."""
        verbs: frozenset[Verb] = frozenset({"start", "stop"})
        return tuple(rule for s in self.services for rule in s.sudo_rules(user, verbs))

    def plan(self, ctx: Planning) -> PausePlan:
        """Remember which services run."""
        before = publishing.remembered(ctx, "current").release
        place = Place(ctx.layout, before)
        verbs: frozenset[Verb] = frozenset({"start", "stop"})
        seen = [service.survey(ctx, place, verbs) for service in self.services]
        active = tuple(facts.up for facts in seen)
        return PausePlan(ctx.layout.root, self.pauses, active, before)

    def apply(self, ctx: Acting, plan: PausePlan) -> None:
        """Stop each that ran, and see that it is down."""
        place = Place(ctx.layout, plan.before)
        for service in self._active(plan):
            script = service.stop_script(place)
            command = Command(f"stop:{service.label}", script, timeout=PATIENCE, again=True)
            done = ctx.host.change(command, check=False)
            if not done.ok:
                said = look(ctx, service, place).said
                raise StageFailed(
                    f"{service.label} on {ctx.host.name} could not be stopped "
                    f"(exit {done.exit_code}): it is {said}",
                    then=f"look at: {service.where_to_look()}   (on {ctx.host.name})",
                )
        for service in self._active(plan):
            self._see_down(ctx, service, place)

    def undo(self, ctx: Acting, plan: PausePlan) -> None:
        """Start each that ran, and see that it stays up."""
        place = Place(ctx.layout, plan.before)
        claims = []
        for service, command in zip(self._active(plan), self.undo_commands(plan), strict=True):
            if not ctx.host.change(command, check=False).ok:
                said = look(ctx, service, place).said
                raise failed(ctx, service, plan.before, f"it could not be started; it is {said}")
            claims.append(Claim(service, place, Mark("", 0)))
        if claims:
            prove(ctx, claims, within=self.within, unproven=True)

    def undo_commands(self, plan: PausePlan) -> tuple[Command, ...]:
        """Return the commands of the undo on one host, in order; a guardian runs the very same."""
        place = Place(Layout(plan.root), plan.before)
        return tuple(
            Command(f"start:{s.label}", s.start_script(place), timeout=PATIENCE, again=True)
            for s in self._active(plan)
        )

    def _active(self, plan: PausePlan) -> list[Service]:
        return [
            service for service, active in zip(self.services, plan.active, strict=True) if active
        ]

    def _see_down(self, ctx: Acting, service: Service, place: Place) -> None:
        deadline = time.monotonic() + self.within
        while (facts := look(ctx, service, place)).up:
            if time.monotonic() > deadline:
                raise StageFailed(
                    f"{service.label} on {ctx.host.name} was stopped and runs again: "
                    f"it is {facts.said}",
                    then="find what starts it (a timer, a socket, another service) and pause that",
                )
            ctx.sleep(0.1)
