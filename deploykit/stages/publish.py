"""Publish: move a link to the release, for sites that no service of their own serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploykit import publishing
from deploykit.errors import ConfigurationError, StageFailed
from deploykit.layout import Layout
from deploykit.stage import Acting, Measure, Placement, Planning

__all__ = ["Publish", "PublishPlan"]

TIMEOUT = 60.0


@dataclass(frozen=True)
class PublishPlan:
    """
    What publishing changes on one host.

    Args:
        root: the pipeline's root.
        run: the run's id.
        link: relative to the root.
        release: what will be published.
        before: the release published before; empty if there was none of ours.
        target: what the link contained, word for word; empty if it was not there.
    """

    root: str
    run: str
    link: str
    release: str
    before: str
    target: str

    def describe(self) -> tuple[str, ...]:
        """Return what `deploykit plan` prints."""
        now = self.before or self.target or "nothing"
        return (f"{self.link} -> {self.release} (now: {now})",)


@dataclass(frozen=True)
class Publish:
    """
    Point a link to the release by one rename; undone by pointing it back.

    Args:
        link: relative to the root, or absolute.
        on: the role of its hosts; all by default.
        name: the stage's name.
    """

    placement: ClassVar[Placement] = "each"
    publishes: ClassVar[bool] = True

    link: str = "current"
    on: str | None = None
    name: str = "publish"

    def __post_init__(self) -> None:
        if not self.link.strip("/") or self.link.endswith("/") or "\n" in self.link:
            raise ConfigurationError(f"Publish({self.link!r}): the path of a link")

    def plan(self, ctx: Planning) -> PublishPlan:
        """Remember where the link points."""
        link = publishing.remembered(ctx, self.link)
        return PublishPlan(
            root=ctx.layout.root,
            run=ctx.run.id,
            link=self.link,
            release=ctx.run.release,
            before=link.release,
            target=link.target,
        )

    def apply(self, ctx: Acting, plan: PublishPlan) -> None:
        """Move the link."""
        publishing.publish(ctx, plan.link, plan.target, TIMEOUT)

    def undo(self, ctx: Acting, plan: PublishPlan) -> None:
        """Move it back, or remove it."""
        done = publishing.move(ctx, self.undo_script(plan), plan.link, TIMEOUT)
        if not done.ok:
            raise StageFailed(
                f"{ctx.layout.under(plan.link)} on {ctx.host.name} could not be moved back: "
                f"{done.output.strip()}"
            )

    def undo_script(self, plan: PublishPlan) -> str:
        """Return the whole undo on one host, as shell; a guardian runs the very same."""
        return publishing.MOVING + publishing.undo_move(
            Layout(plan.root), plan.link, plan.run, plan.target, plan.before
        )

    def measure(self, ctx: Planning, plan: PublishPlan, undone: bool) -> list[Measure]:
        """Return the release that the link points to."""
        wanted = (plan.before or ("?" if plan.target else "none")) if undone else plan.release
        return [Measure("release", self.link, wanted, publishing.measured(ctx, self.link))]
