"""What a run, a plan and a status come to: values for the report and for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploykit.engine.journal import State
from deploykit.release import Ledger
from deploykit.stage import Measure

__all__ = [
    "HostStatus",
    "LockOwner",
    "PlanResult",
    "PlannedStage",
    "RunResult",
    "RunSummary",
    "StatusResult",
]


@dataclass(frozen=True)
class RunResult:
    """
    How a run, resume or rollback ended.

    Args:
        environment: its name.
        run: the run's id; empty if it never began.
        release: the release that is published now; the one it made where nothing is published.
        state: the run's state now.
        exit_code: DESIGN: "A run".
        error: what failed; None if nothing did.
        table: the end table: what was measured on each host.
        warnings: what went wrong after the run was confirmed.
        seconds: how long it took.
    """

    environment: str
    run: str
    release: str
    state: State
    exit_code: int
    error: BaseException | None
    table: Mapping[str, tuple[Measure, ...]]
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Return whether the exit code is 0."""
        return self.exit_code == 0


@dataclass(frozen=True)
class PlannedStage:
    """
    One stage of a plan.

    Args:
        name: the stage's.
        plans: its plan by host.
        lines: what to print, by host.
    """

    name: str
    plans: Mapping[str, Any]
    lines: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class LockOwner:
    """
    Who holds an environment's lock.

    Args:
        run: the run, or the id of a lock taken by hand.
        by: `user@machine`.
        reason: why.
        at: UTC time of the taking, by the operator's clock.
    """

    run: str
    by: str
    reason: str
    at: str


@dataclass(frozen=True)
class PlanResult:
    """
    What a run would do, and what cannot be told.

    Args:
        environment: its name.
        release: the id a run made now would get.
        content: the sha256 of what would be released.
        stages: in order.
        lock: who holds the lock now, if anybody.
        notes: what to know before running: what cannot be told, what would be refused.
    """

    environment: str
    release: str
    content: str
    stages: tuple[PlannedStage, ...]
    lock: LockOwner | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class HostStatus:
    """
    One host, measured.

    Args:
        host: its label.
        release: what `current` points to; empty if there is none.
        state: that release's state in the ledger.
        measures: what its stages measured.
        ledger: all its releases.
    """

    host: str
    release: str
    state: str
    measures: tuple[Measure, ...]
    ledger: Ledger


@dataclass(frozen=True)
class StatusResult:
    """
    An environment, measured.

    Args:
        environment: its name.
        hosts: in order.
        lock: who holds it, if anybody.
        unfinished_run: the run that must be resumed or rolled back first.
        rung: on which rung a rollback would go now; None if there is nothing to undo.
        until: until when (UTC) it loses nothing; empty for ever.
        leftovers: what earlier runs left that should not be there.
        unfinished_state: where in its life the unfinished run is.
        guardian: what guardians have done in it, for people; empty if none has fired.
    """

    environment: str
    hosts: tuple[HostStatus, ...]
    lock: LockOwner | None
    unfinished_run: str
    rung: int | None
    until: str
    leftovers: tuple[str, ...]
    unfinished_state: str = ""
    guardian: str = ""

    @property
    def ok(self) -> bool:
        """Return whether everything is as wanted and nothing is unfinished."""
        right = all(measure.ok for host in self.hosts for measure in host.measures)
        return right and not self.unfinished_run and len({h.release for h in self.hosts}) == 1


@dataclass(frozen=True)
class RunSummary:
    """
    One run as `runs` lists it.

    Args:
        run: its id.
        action: `deploy`, `backup` or `rollback`.
        state: where in its life it is.
        release: the release it made.
        by: who ran it.
        at: when it began, UTC, by the host's clock.
        reason: why it went back; empty if it did not.
    """

    run: str
    action: str
    state: State
    release: str
    by: str
    at: str
    reason: str
