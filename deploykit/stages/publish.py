"""Publish: move a link to the release, for sites that no service of their own serves."""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import basename
from typing import ClassVar

from deploykit import publishing
from deploykit.errors import ConfigurationError, StageFailed
from deploykit.files import FilesToLookAt
from deploykit.layout import Layout
from deploykit.sftp_only import links
from deploykit.sftp_only.links import Before
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
        aside: absolute path to which a folder that stands there is moved; empty if there is none.
        maybe: nobody knows yet whether the server makes links.
    """

    root: str
    run: str
    link: str
    release: str
    before: str
    target: str
    aside: str = ""
    maybe: bool = False

    def describe(self) -> tuple[str, ...]:
        """Return what `deploykit plan` prints."""
        now = self.before or self.target or ("a folder" if self.aside else "nothing")
        lines = [f"{self.link} -> {self.release} (now: {now})"]
        if self.aside:
            lines.append(f"the folder moves to {self.aside}, and back on undo")
        if self.maybe:
            lines.append("whether the SFTP server makes links is seen when the first run begins")
        return tuple(lines)

    @property
    def stood(self) -> Before:
        """Return what stood there when the plan was made, on a host without a shell."""
        if self.aside:
            return Before("dir")
        return Before("link", self.target) if self.target else Before("nothing")


@dataclass(frozen=True)
class Publish:
    """
    Point a link to the release by one rename; undone by pointing it back.

    On a host without a shell the link is always relative, since an absolute one means another
    place to a web server outside of the chroot. A folder that stands there, as `public_html` does
    at first, is moved into the root as `<its name>.before-deploykit-<run>`, and back on undo; the
    root is not what is served, and is on the same disk.

    Args:
        link: relative to the root, or absolute.
        on: the role of its hosts; all by default.
        name: the stage's name.
    """

    placement: ClassVar[Placement] = "each"
    publishes: ClassVar[bool] = True
    needs_shell: ClassVar[bool] = False

    link: str = "current"
    on: str | None = None
    name: str = "publish"

    def __post_init__(self) -> None:
        if not self.link.strip("/") or self.link.endswith("/") or "\n" in self.link:
            raise ConfigurationError(f"Publish({self.link!r}): the path of a link")

    def plan(self, ctx: Planning) -> PublishPlan:
        """Remember where the link points."""
        if ctx.host.sftp is not None:
            return self._plan_bare(ctx, ctx.host.sftp)
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
        if ctx.host.sftp is not None:
            links.publish(ctx, plan.link, plan.stood, plan.aside)
            return
        publishing.publish(ctx, plan.link, plan.target, TIMEOUT)

    def undo(self, ctx: Acting, plan: PublishPlan) -> None:
        """Move it back, or remove it."""
        if ctx.host.sftp is not None:
            links.undo(ctx, plan.link, plan.stood, plan.aside)
            return
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
        before = plan.before or ("?" if plan.target or plan.aside else "none")
        if (files := ctx.host.sftp) is not None:
            is_ = links.measured(files, ctx.layout, self.link)
        else:
            is_ = publishing.measured(ctx, self.link)
        return [Measure("release", self.link, before if undone else plan.release, is_)]

    def _plan_bare(self, ctx: Planning, files: FilesToLookAt) -> PublishPlan:
        layout, run = ctx.layout, ctx.run
        path = layout.under(self.link)
        found = links.remembered(ctx, files, self.link)
        aside = layout.under(f"{basename(path)}.before-deploykit-{run.id}")
        return PublishPlan(
            root=layout.root,
            run=run.id,
            link=self.link,
            release=run.release,
            before=found.release(layout, path),
            target=found.target,
            aside=aside if found.kind == "dir" else "",
            maybe=links.makes_links(files, layout) is None,
        )
