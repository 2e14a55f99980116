"""A build on the operator's machine, before anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deploykit.stage import Acting, Packing, Planning

__all__ = ["Local", "LocalPlan"]


@dataclass(frozen=True)
class LocalPlan:
    """What was built: there is nothing to do on a host, and nothing to undo."""

    command: str

    def describe(self) -> tuple[str, ...]:
        """Return the lines that `deploykit plan` prints."""
        return (f"built on this machine: {self.command}",)


@dataclass(frozen=True)
class Local:
    """
    Run a command on the operator's machine, in the project root, before hosts are asked.

    Args:
        command: POSIX shell; its failure ends the run before anything is touched.
        env: variables for it, beside the operator's own.
        name: unique in the pipeline.
    """

    command: str
    env: Mapping[str, str] = field(default_factory=dict)
    name: str = "local"

    placement = "first"
    builds = True
    apart = True
    needs_shell = False

    def pack(self, ctx: Packing) -> None:
        """Build."""
        ctx.run(self.command, self.env)

    def plan(self, ctx: Planning) -> LocalPlan:
        """See `Stage`."""
        del ctx
        return LocalPlan(self.command)

    def apply(self, ctx: Acting, plan: LocalPlan) -> None:
        """Nothing is left to do: it was built before planning."""

    def undo(self, ctx: Acting, plan: LocalPlan) -> None:
        """Nothing on a host came of it."""
