"""Publishing on a host without a shell: the link is moved by a rename, and always relative."""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import basename, dirname, join, normpath, relpath
from typing import Literal

from deploykit.errors import ConfigurationError, PlanStale, StageFailed, TransferFailed
from deploykit.files import FilesToLookAt
from deploykit.layout import Layout
from deploykit.sftp_only.effects import files_of
from deploykit.stage import Acting, Planning

__all__ = ["Before", "makes_links", "measured", "publish", "remembered", "undo"]


@dataclass(frozen=True)
class Before:
    """
    What stands where the link is to be.

    Args:
        kind: a link, a folder, nothing, or what is neither.
        target: what the link contains, word for word, else empty.
    """

    kind: Literal["link", "dir", "nothing", "other"]
    target: str = ""

    def leads_to(self, path: str) -> str:
        """Return the absolute path to which this, as the link *path*, leads; empty for no link."""
        # Not its words: proftpd shows where any link leads to, whatever it contains.
        return normpath(join(dirname(path), self.target)) if self.target else ""

    def release(self, layout: Layout, path: str) -> str:
        """Return the release that this, as the link *path*, points to; empty if none of ours."""
        found = self.leads_to(path)
        return basename(found) if dirname(found) == layout.releases else ""

    def is_like(self, other: Before, path: str) -> bool:
        """Return whether *other* is the same at *path*."""
        return self.kind == other.kind and self.leads_to(path) == other.leads_to(path)


NOTHING = Before("nothing")


def makes_links(files: FilesToLookAt, layout: Layout) -> bool | None:
    """Return whether the server makes symbolic links; None before deploykit has ever tried."""
    if files.target(f"{layout.private}/links") is not None:
        return True
    return False if files.look([layout.private]) else None


def remembered(ctx: Planning, files: FilesToLookAt, link: str) -> Before:
    """
    Return what stands at *link*, relative to the root.

    Raises:
        ConfigurationError: a file does, or the server makes no links.
    """
    path = ctx.layout.under(link)
    found = _standing(files, path)
    if found.kind == "other":
        raise ConfigurationError(
            f"{path} on {ctx.host.name} is neither a link nor a folder, "
            "so no release can be published there",
            state="nothing was touched",
            then=f"by SFTP on {ctx.host.name}: rename {path} {path}.before-deploykit",
        )
    if makes_links(files, ctx.layout) is False:
        raise ConfigurationError(
            f"the SFTP server of {ctx.host.name} makes no symbolic links, "
            f"so {path} cannot point to a release",
            state="nothing was touched",
            then="ask the hoster to allow symbolic links, or take another host",
        )
    return found


def publish(ctx: Acting, link: str, before: Before, aside: str) -> None:
    """
    Point *link* to the run's release.

    Args:
        ctx: what the stage was given.
        link: relative to the root.
        before: what stood there when the plan was made.
        aside: absolute path to which a folder that stands there is moved.

    Raises:
        PlanStale: something else stands there than the plan says.
        StageFailed: the release is not there.
    """
    files = files_of(ctx)
    path, target = ctx.layout.under(link), _target(ctx, link)
    if ctx.release_path not in files.look([ctx.release_path]):
        raise StageFailed(
            f"{ctx.release_path} is not on {ctx.host.name}: nothing to publish",
            then="put a Transfer before this stage",
        )
    found = _standing(files, path)
    if found.is_like(Before("link", target), path):
        return
    # Nothing may stand there where we were cut off between two steps.
    if found != NOTHING and not found.is_like(before, path):
        raise PlanStale(f"{path} on {ctx.host.name} was changed by others since the plan was made")
    if found.kind == "dir" and not files_of(ctx).move(path, aside):
        raise PlanStale(f"{path} on {ctx.host.name} cannot be moved aside: {aside} is there")
    _point(ctx, path, target)


def undo(ctx: Acting, link: str, before: Before, aside: str) -> None:
    """
    Bring back what stood at *link*; see `publish`.

    Raises:
        StageFailed: it cannot come back: what the link pointed to is gone, or its place is taken.
    """
    files = files_of(ctx)
    path = ctx.layout.under(link)
    found = _standing(files, path)
    files.remove([_temporary(path, ctx.run.id)])
    if before.kind == "link" and not found.is_like(before, path):
        there = before.leads_to(path)
        if there not in files.look([there]):
            raise StageFailed(
                f"{path} on {ctx.host.name} cannot go back: the release before is no longer there"
            )
        ours = before.release(ctx.layout, path)
        _point(ctx, path, relpath(there, dirname(path)) if ours else before.target)
    if before.kind != "link" and found.is_like(Before("link", _target(ctx, link)), path):
        files_of(ctx).remove([path])
    if (
        before.kind == "dir"
        and aside in files.look([aside])
        and not files_of(ctx).move(aside, path)
    ):
        raise StageFailed(
            f"{path} on {ctx.host.name} cannot come back from {aside}: something is in its place",
            then=f"by SFTP on {ctx.host.name}: move away {path}, then rename {aside} {path}",
        )


def measured(files: FilesToLookAt, layout: Layout, link: str) -> str:
    """Return the release that *link* points to, `none` for nothing, `?` for anything else."""
    path = layout.under(link)
    found = _standing(files, path)
    return "none" if found == NOTHING else found.release(layout, path) or "?"


def _standing(files: FilesToLookAt, path: str) -> Before:
    found = files.look([path]).get(path)
    if found is None:
        return NOTHING
    if found.kind == "link":
        return Before("link", files.target(path) or "")
    return Before("dir" if found.kind == "dir" else "other")


def _point(ctx: Acting, path: str, target: str) -> None:
    temporary = _temporary(path, ctx.run.id)
    files_of(ctx).symlinks([(target, temporary)])
    try:
        files_of(ctx).rename(temporary, path)
    except TransferFailed:
        # proftpd would rename what the link leads to. That links can be made is known by now; for
        # a moment there is none.
        files_of(ctx).remove([temporary])
        files_of(ctx).symlinks([(target, path)])


def _temporary(path: str, run: str) -> str:
    return f"{dirname(path)}/.{basename(path)}-{run}"


def _target(ctx: Planning, link: str) -> str:
    return relpath(ctx.release_path, dirname(ctx.layout.under(link)))
