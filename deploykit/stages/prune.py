"""Removing old releases, once the new one is confirmed."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.command import Command
from deploykit.errors import ConfigurationError
from deploykit.release import Ledger
from deploykit.sftp_only import releases
from deploykit.shell import fill
from deploykit.stage import Acting, Planning

__all__ = ["Prune", "PrunePlan", "removable"]


@dataclass(frozen=True)
class PrunePlan:
    """Which releases go once the run is confirmed."""

    remove: tuple[str, ...]
    keep: int

    def describe(self) -> tuple[str, ...]:
        """Return the lines that `deploykit plan` prints."""
        if not self.remove:
            return (f"nothing to remove; {self.keep} good releases are kept",)
        return tuple(f"remove releases/{release}" for release in self.remove)


@dataclass(frozen=True)
class Prune:
    """
    Keep the newest *keep* good releases; remove older ones, and failed ones older than these.

    It runs after the run is confirmed, and its failure is only a warning. Never removed: the
    release that is live, the one to go back to, and anything newer.

    Args:
        keep: good releases, the new one among them; at least 2, so that there is a way back.
        on: the role of the hosts; all by default.
        name: unique in the pipeline.
    """

    keep: int = 5
    on: str | None = None
    name: str = "prune"

    after_confirmed = True
    needs_shell = False

    def __post_init__(self) -> None:
        if self.keep < 2:
            raise ConfigurationError(
                f"Prune(keep={self.keep}): at least 2, the live release and the one to go back to"
            )

    def plan(self, ctx: Planning) -> PrunePlan:
        """See `Stage`."""
        there = _there(ctx)
        gone = removable(ctx.ledger, ctx.current, self.keep)
        return PrunePlan(tuple(name for name in gone if name in there), self.keep)

    def apply(self, ctx: Acting, plan: PrunePlan) -> None:
        """See `Stage`."""
        if ctx.host.sftp is not None:
            for release in plan.remove:
                releases.remove(ctx, release)
            return
        for release in plan.remove:
            folder, grave = ctx.layout.release(release), f"{ctx.layout.releases}/.{release}.gone"
            # Renamed first: what is half removed must not look like a release.
            script = fill(
                "[ ! -d {0} ] || mv -- {0} {1}\nchmod -R u+w -- {1} 2>/dev/null || :\n"
                "rm -rf -- {1} {2}",
                folder,
                grave,
                ctx.layout.manifest(release),
            )
            ctx.host.change(Command(f"remove:{release}", script, again=True))

    def undo(self, ctx: Acting, plan: PrunePlan) -> None:
        """What was removed was of no use to any rollback."""


def _there(ctx: Planning) -> list[str]:
    """Return the names in the folder of releases."""
    if (files := ctx.host.sftp) is not None:
        return files.names(ctx.layout.releases) or []
    listing = ctx.host.query(fill("ls -A -- {} 2>/dev/null || :", ctx.layout.releases))
    return listing.output.split("\n")


def removable(ledger: Ledger, current: str, keep: int) -> tuple[str, ...]:
    """
    Return the releases to remove when one more good release is about to be added.

    Args:
        ledger: the host's releases, oldest first.
        current: the live release, which will be the one to go back to.
        keep: good releases to keep, the new one among them.
    """
    good = [line.id for line in ledger.good() if line.id != current]
    kept = {current, *good[max(0, len(good) - max(0, keep - 2)) :]} - {""}
    order = [line.id for line in ledger.lines]
    oldest = min((order.index(release) for release in kept if release in order), default=0)
    return tuple(release for release in order[:oldest] if release not in kept)
