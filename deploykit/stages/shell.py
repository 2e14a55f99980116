"""A command of your own, with its undo."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.command import HOUR, Command
from deploykit.errors import ConfigurationError
from deploykit.stage import Acting, Planning

__all__ = ["Shell", "ShellPlan"]


@dataclass(frozen=True)
class ShellPlan:
    """Both commands and where they run."""

    do: str
    undo: str
    folder: str

    def describe(self) -> tuple[str, ...]:
        """Return the lines that `deploykit plan` prints."""
        back = f"undo: {self.undo}" if self.undo else "undo: nothing (none was given)"
        return (f"in {self.folder or 'the root'}: {self.do}", back)


@dataclass(frozen=True)
class Shell:
    """
    Run a command on each host; on rollback, another.

    It runs in the new release once a `Transfer` precedes it, else in the root.

    Args:
        name: unique in the pipeline.
        do: POSIX shell, run by `sh -e`.
        undo: what takes it back; also run where *do* failed half-way, so it must cope with that.
        again: *do* may be run again if the host died while it ran.
        timeout: seconds, of either.
        on: the role of the hosts; all by default.
    """

    name: str
    do: str
    undo_command: str = ""
    again: bool = False
    timeout: float = HOUR
    on: str | None = None

    def __init__(
        self,
        name: str,
        *,
        do: str,
        undo: str = "",
        again: bool = False,
        timeout: float = HOUR,
        on: str | None = None,
        undo_command: str = "",
    ) -> None:
        # The keyword is `undo`, as everybody would guess; the field cannot be, beside the method.
        if not do.strip():
            raise ConfigurationError(f"Shell({name!r}): do= is empty")
        for field, value in (
            ("name", name),
            ("do", do),
            ("undo_command", undo or undo_command),
            ("again", again),
            ("timeout", timeout),
            ("on", on),
        ):
            object.__setattr__(self, field, value)

    def plan(self, ctx: Planning) -> ShellPlan:
        """See `Stage`."""
        before = list(ctx.stages)[: list(ctx.stages).index(self.name)]
        released = any(hasattr(ctx.stages[name], "makes_release") for name in before)
        folder = f"releases/{ctx.run.release}" if released else ""
        return ShellPlan(self.do, self.undo_command, folder)

    def apply(self, ctx: Acting, plan: ShellPlan) -> None:
        """See `Stage`."""
        ctx.host.change(
            Command("do", plan.do, cwd=plan.folder, timeout=self.timeout, again=self.again)
        )

    def undo(self, ctx: Acting, plan: ShellPlan) -> None:
        """See `Stage`."""
        if plan.undo:
            ctx.host.change(
                Command("undo", plan.undo, cwd=plan.folder, timeout=self.timeout, again=True)
            )
