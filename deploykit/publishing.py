"""
Publishing: how the link to the published release is moved, and what is remembered of it.

Right after the link has moved, the host writes down by the kernel's own clock when that was (the
*mark*): a process that began at or after it can only have begun in what the link points to since.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from posixpath import basename, dirname, relpath
from urllib.parse import quote as percent

from deploykit.command import Command, Result
from deploykit.errors import ConfigurationError, PlanStale, StageFailed
from deploykit.layout import Layout
from deploykit.shell import fill
from deploykit.stage import Acting, Planning, Reader

__all__ = [
    "UNDO_KEY",
    "Link",
    "Mark",
    "measured",
    "move",
    "publish",
    "record_path",
    "remembered",
    "undo_move",
]

UNDO_KEY = "undo-restart"
NOT_A_LINK, MOVED_BY_OTHERS, NOT_THERE = 91, 92, 93


@dataclass(frozen=True)
class Mark:
    """
    A moment on a host, in clock ticks since that boot.

    Args:
        boot: the kernel's boot id.
        tick: as in field 22 of `/proc/PID/stat`.
    """

    boot: str
    tick: int

    @classmethod
    def printed_in(cls, output: str) -> Mark:
        """
        Return the mark that `dk_mark` printed last in *output*.

        Raises:
            StageFailed: there is none.
        """
        found = re.findall(r"^\x01mark=(\S+) (\d+)$", output, re.MULTILINE)
        if not found:
            raise StageFailed("the host did not say when the link moved")
        boot, tick = found[-1]
        return cls(boot, int(tick))


@dataclass(frozen=True)
class Link:
    """
    A link as it was when the plan was made.

    Args:
        path: absolute.
        target: what it points to, word for word; empty if it is not there.
        release: the release that this is; empty if it is none of ours.
    """

    path: str
    target: str
    release: str


# `mv -T` replaces the link by one rename. Where it is missing, `mv -h` (BSD) does the same, and
# `ln -sfn` comes close: it unlinks first. The record goes before the link moves and comes back
# after, so that it never speaks of an earlier move.
MOVING = """
dk_tick() { awk '{ print $22 }' /proc/self/stat; }
dk_boot() { cat /proc/sys/kernel/random/boot_id; }
dk_mark() {
  dk_first=$(dk_tick) dk_now=$dk_first
  while [ "$dk_now" -le "$dk_first" ]; do dk_now=$(dk_tick); done
  printf '\001mark=%s %s\n' "$(dk_boot)" "$dk_now" # byte 1: for deploykit, not for people
}
dk_link() { # LINK TARGET RUN RECORD RELEASE
  [ -L "$1" ] || [ ! -e "$1" ] || return 1
  dk_new=$(dirname -- "$1")/.$(basename -- "$1")-$3
  rm -f -- "$4" "$dk_new"
  ln -s -- "$2" "$dk_new" || return 1
  if ! mv -fT -- "$dk_new" "$1" 2>/dev/null && ! mv -fh "$dk_new" "$1" 2>/dev/null; then
    rm -f -- "$dk_new"
    ln -sfn -- "$2" "$1" || return 1
  fi
  sync "$(dirname -- "$1")" 2>/dev/null || sync
  dk_mark >"$4.new" && sed -n "s/^.mark=/$5 /p" "$4.new" >"$4.new2" && mv -f -- "$4.new2" "$4"
  cat "$4.new"
  rm -f -- "$4.new"
}
"""

_PUBLISH = """
link={link}
if [ -e "$link" ] && [ ! -L "$link" ]; then exit {not_a_link}; fi
here=$(readlink "$link" || :)
[ "$here" = {was} ] || [ "$here" = {target} ] || exit {moved}
[ -d {folder} ] || exit {missing}
mkdir -p -- {records}
# Kept for the undo: a service that it leaves alone has begun after that.
if [ "$here" = {was} ] && [ -e {record} ]; then cp -- {record} {record}.before; fi
dk_link "$link" {target} {run} {record} {release}
"""

_UNDO = """
link={link}
here=$(readlink "$link" || :)
if [ "$here" = {was} ]; then dk_mark
else
  [ -d "$(dirname -- "$link")"/{was} ] || [ -d {was} ] || exit {missing}
  mkdir -p -- {records}
  dk_link "$link" {was} {run} {record} {release}
fi
if read -r dk_release _ 2>/dev/null <{record}.before && [ "$dk_release" = {release} ]; then
  mv -f -- {record}.before {record}
fi
"""

_REMOVE = """
link={link}
if [ -L "$link" ]; then
  rm -f -- {record} "$link"
  sync "$(dirname -- "$link")" 2>/dev/null || sync
fi
dk_mark
"""


def record_path(layout: Layout, link: str) -> str:
    """Return the file on the host that says when *link* last moved: release, boot, tick."""
    return f"{layout.private}/published/{percent(link, safe='')}"


def remembered(ctx: Planning, link: str) -> Link:
    """
    Return where *link*, relative to the root, points to now.

    Raises:
        ConfigurationError: something else than a link stands there.
    """
    path = ctx.layout.under(link)
    found = _look(ctx.host, path)
    if found.exit_code == NOT_A_LINK:
        raise ConfigurationError(
            f"{path} on {ctx.host.name} is not a link, so no release can be published there",
            state="nothing was touched",
            then=f"move it away, on {ctx.host.name}: mv {path} {path}.before-deploykit",
        )
    return Link(path, found.output, _release(ctx.layout, path, found.output))


def publish(ctx: Acting, link: str, was: str, timeout: float = 60.0) -> Mark:
    """
    Point *link* to the run's release by one rename, and return when that was.

    Args:
        ctx: what the stage was given.
        link: relative to the root.
        was: what the link pointed to when the plan was made.
        timeout: seconds.

    Raises:
        PlanStale: the link points elsewhere than the plan says.
        StageFailed: the release is not there.
    """
    path = ctx.layout.under(link)
    script = MOVING + fill(
        _PUBLISH,
        was=was,
        target=target(ctx.layout, link, ctx.run.release),
        folder=ctx.release_path,
        release=ctx.run.release,
        not_a_link=NOT_A_LINK,
        moved=MOVED_BY_OTHERS,
        missing=NOT_THERE,
        **_places(ctx.layout, link, ctx.run.id),
    )
    done = ctx.host.change(Command("publish", script, timeout=timeout, again=True), check=False)
    if done.exit_code in (NOT_A_LINK, MOVED_BY_OTHERS):
        raise PlanStale(f"{path} on {ctx.host.name} was changed by others since the plan was made")
    if done.exit_code == NOT_THERE:
        raise StageFailed(
            f"{ctx.release_path} is not on {ctx.host.name}: nothing to publish",
            then="put a Transfer before this stage",
        )
    _moved(done, path, ctx.host.name)
    return Mark.printed_in(done.output)


def undo_move(layout: Layout, link: str, run: str, was: str, release: str) -> str:
    """
    Return the shell lines that bring *link* back to *was*, or remove it if *was* is empty.

    They need `MOVING` before them, print the mark, and may run any number of times.
    """
    places = _places(layout, link, run)
    if not was:
        return fill(_REMOVE, link=places["link"], record=places["record"])
    return fill(_UNDO, was=was, release=release or "-", missing=NOT_THERE, **places)


def move(ctx: Acting, script: str, link: str, timeout: float) -> Result:
    """
    Run an undo's *script*, which contains `undo_move`, as the one command of that undo.

    Raises:
        StageFailed: the release to go back to is gone.
    """
    command = Command(UNDO_KEY, script, timeout=timeout, again=True)
    done = ctx.host.change(command, check=False)
    if done.exit_code == NOT_THERE:
        raise StageFailed(
            f"{ctx.layout.under(link)} on {ctx.host.name} cannot go back: "
            "the release before is no longer there"
        )
    return done


def measured(ctx: Planning, link: str, where: str = "") -> str:
    """
    Return the release that *link* points to, `none` without a link, `?` for anything else.

    Args:
        ctx: of a host.
        link: relative to the root.
        where: what it contains, if somebody has just looked.
    """
    path = ctx.layout.under(link)
    found = Result(0, where) if where else _look(ctx.host, path)
    if found.exit_code == NOT_A_LINK:
        return "?"
    return (_release(ctx.layout, path, found.output) or "?") if found.output else "none"


def target(layout: Layout, link: str, release: str) -> str:
    """Return what *link* contains when it points to *release*; relative within the root."""
    path = layout.under(link)
    folder = layout.release(release)
    return relpath(folder, dirname(path)) if path.startswith(f"{layout.root}/") else folder


def _places(layout: Layout, link: str, run: str) -> dict[str, str]:
    record = record_path(layout, link)
    return {
        "link": layout.under(link),
        "run": run,
        "record": record,
        "records": dirname(record),
    }


def _look(host: Reader, path: str) -> Result:
    script = "if [ -L {0} ]; then readlink {0}; elif [ -e {0} ]; then exit {1}; fi"
    found = host.query(fill(script, path, NOT_A_LINK), check=False)
    return Result(found.exit_code, found.output.removesuffix("\n"))


def _release(layout: Layout, link: str, where: str) -> str:
    """Return the release that a link containing *where* points to; empty if it is none of ours."""
    release = basename(where)
    ours = (target(layout, link, release), layout.release(release)) if release else ()
    return release if where in ours else ""


def _moved(done: Result, path: str, host: str) -> None:
    if not done.ok:
        raise StageFailed(
            f"{path} on {host} could not be moved (exit {done.exit_code}): {done.output.strip()}",
            then=f"look at the rights there: ls -ld {dirname(path)}",
        )
