"""What every kind of service can be asked for."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from deploykit.layout import Layout
from deploykit.services.facts import Facts
from deploykit.stage import Planning

__all__ = ["Place", "Service", "Verb"]

Verb = Literal["restart", "start", "stop"]


@dataclass(frozen=True)
class Place:
    """
    Where a service's commands run.

    Args:
        layout: the folders on the host.
        release: the release that the service is to run.
    """

    layout: Layout
    release: str


@runtime_checkable
class Service(Protocol):
    """
    A service: a frozen dataclass that knows the shell for its kind.

    All scripts are POSIX shell with `as_root` and `may_root` defined; those that change may be run
    any number of times.
    """

    @property
    def label(self) -> str:
        """What it is called in logs, plans and tables."""

    @property
    def stoppable(self) -> bool:
        """Whether it can be stopped and started, not only restarted."""

    @property
    def reloads(self) -> bool:
        """Whether its main process stays when it is restarted."""

    @property
    def provable(self) -> bool:
        """Whether anything on a host can show which release it runs."""

    def survey(self, ctx: Planning, place: Place, verbs: AbstractSet[Verb]) -> Facts:
        """
        Look at it before anything is touched.

        Args:
            ctx: what the stage was given.
            place: the release that runs now.
            verbs: what will be done to it.

        Raises:
            ConfigurationError: it is not known there, or a right for *verbs* is missing.
        """

    def look_script(self, place: Place) -> str:
        """Return a query that prints what `read` reads."""

    def read(self, text: str) -> Facts:
        """Return what a look found."""

    def restart_script(self, place: Place) -> str:
        """Return a script that makes it run *place*'s release, whether it runs now or not."""

    def start_script(self, place: Place) -> str:
        """Return a script that starts it."""

    def stop_script(self, place: Place) -> str:
        """Return a script that stops it."""

    def identity_script(self, place: Place) -> str:
        """
        Return shell that prints `Facts.identity` as it is then, with `facts.PROCESSES` defined.

        Empty where the same main process may run another release than before.
        """

    def sudo_rules(self, user: str, verbs: AbstractSet[Verb]) -> tuple[str, ...]:
        """Return the lines of sudoers that *user* needs for *verbs*."""

    def log_script(self) -> str:
        """Return a query that prints the last lines of its log; empty where there is none."""

    def where_to_look(self) -> str:
        """Return the command by which a person reads its log on the host."""
