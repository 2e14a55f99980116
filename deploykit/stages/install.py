"""Installing what the release needs, in the release, on the host."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.command import Command
from deploykit.stage import Acting, Planning

__all__ = ["Install", "InstallPlan"]

HALF_AN_HOUR = 1800.0


@dataclass(frozen=True)
class InstallPlan:
    """The command and where it runs."""

    command: str
    folder: str

    def describe(self) -> tuple[str, ...]:
        """Return the lines that `deploykit plan` prints."""
        return (f"in {self.folder or 'the root'}: {self.command}",)


@dataclass(frozen=True)
class Install:
    """
    Run *command* in the new release on each host, such as `uv sync --frozen`.

    What it makes lies in the release's own folder, so there is nothing to undo: a release that is
    not published harms nobody.

    Args:
        command: POSIX shell, run by `sh -e`.
        timeout: seconds.
        again: it may be run again if the host died while it ran; installers may.
        on: the role of the hosts; all by default.
        name: unique in the pipeline.
    """

    command: str
    timeout: float = HALF_AN_HOUR
    again: bool = True
    on: str | None = None
    name: str = "install"

    apart = True

    def plan(self, ctx: Planning) -> InstallPlan:
        """See `Stage`."""
        return InstallPlan(self.command, f"releases/{ctx.run.release}" if ctx.run.content else "")

    def apply(self, ctx: Acting, plan: InstallPlan) -> None:
        """See `Stage`."""
        ctx.host.change(
            Command(
                "install",
                plan.command,
                cwd=plan.folder,
                timeout=self.timeout,
                again=self.again,
            )
        )

    def undo(self, ctx: Acting, plan: InstallPlan) -> None:
        """The release stays, marked `bad`; nothing else was made."""
