"""Releases on a host without a shell: a place for one, its name when it is whole, its end."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from deploykit.errors import TransferFailed
from deploykit.files import Files, FilesToLookAt
from deploykit.layout import Layout
from deploykit.sftp_only.effects import files_of
from deploykit.stage import Acting

__all__ = ["absent", "begin", "discard", "finish", "free", "is_there", "remove"]

SHARED = 0o2770


def absent(files: FilesToLookAt, layout: Layout, shared: Sequence[str]) -> tuple[str, ...]:
    """Return those of the *shared* paths, relative to the shared folder, that are not there."""
    paths = {path: f"{layout.shared}/{path.rstrip('/')}" for path in shared}
    found = files.look(paths.values())
    return tuple(path for path in shared if paths[path] not in found)


def free(files: FilesToLookAt, layout: Layout) -> int | None:
    """Return the bytes left where the root is, or will be; None if the server does not tell."""
    above = [layout.root, *map(str, PurePosixPath(layout.root).parents)]
    found = files.look(above)
    return files.free(next((path for path in above if path in found), "/"))


def is_there(files: FilesToLookAt, path: str) -> bool:
    """Return whether *path* is a folder."""
    found = files.look([path]).get(path)
    return found is not None and found.kind == "dir"


def begin(ctx: Acting, release: str, made: Iterable[str]) -> None:
    """
    Make room for *release*: its folders, without what other ones have left half done.

    Args:
        ctx: what the stage was given.
        release: its id.
        made: shared folders that are wanted, relative, a folder before what is in it.
    """
    layout = ctx.layout
    folders = [f"{layout.shared}/{path.rstrip('/')}" for path in made]
    files_of(ctx).mkdirs([(layout.releases, 0o755), (layout.shared, SHARED)])
    files_of(ctx).mkdirs((folder, SHARED) for folder in folders)
    # Whoever was cut off from an earlier run in silence may have written after its end.
    _sweep(ctx, rf"\.(?!{re.escape(release)}\.).*\.part\..*")


def finish(ctx: Acting, release: str, shared: Iterable[str]) -> None:
    """
    Link the *shared* paths into what was uploaded, and give it its name: one rename.

    Raises:
        TransferFailed: there is nothing that is whole, or its place is taken.
    """
    layout = ctx.layout
    final = layout.release(release)
    if not is_there(files_of(ctx), final):
        part = _whole(files_of(ctx), layout, release)
        _link(files_of(ctx), part, [path.rstrip("/") for path in shared])
        # First, since a release that is there has a manifest and times.
        files_of(ctx).rename(f"{part}.json", layout.manifest(release))
        files_of(ctx).rename(f"{part}.json.times", layout.times(release))
        if not files_of(ctx).move(part, final):
            raise TransferFailed(f"{ctx.host.name}: {final} is there, and was not a moment ago")
    _sweep(ctx, _parts(layout, release))


def discard(ctx: Acting, release: str, made: Sequence[str]) -> None:
    """Remove what is half there of *release*, and shared folders *made* for it that are empty."""
    _sweep(ctx, _parts(ctx.layout, release))
    for path in reversed(made):
        files_of(ctx).rmdir(f"{ctx.layout.shared}/{path.rstrip('/')}")


def remove(ctx: Acting, release: str) -> None:
    """Remove a whole release, renamed first: what is half removed must not look like one."""
    layout = ctx.layout
    folder, grave = layout.release(release), f"{layout.releases}/.{release}.gone"
    if is_there(files_of(ctx), folder):
        files_of(ctx).remove([grave])
        files_of(ctx).move(folder, grave)
    files_of(ctx).remove([grave, layout.manifest(release), layout.times(release)])


def _link(files: Files, folder: str, shared: Iterable[str]) -> None:
    """Make links in *folder*, a release, to the *shared* paths."""
    for path in shared:
        files.mkdirs((above, 0o755) for above in _steps(folder, path.rpartition("/")[0]))
    up = "../../"
    files.symlinks(
        (f"{up}{'../' * path.count('/')}shared/{path}", f"{folder}/{path}") for path in shared
    )


def _whole(files: FilesToLookAt, layout: Layout, release: str) -> str:
    """Return the folder of the newest controller that has brought everything."""
    folder = layout.part(release)
    names = set(files.names(layout.releases) or ())
    stem = posixpath.basename(folder)
    numbered = re.compile(rf"{re.escape(stem)}\.(\d+)")
    epochs = [int(found[1]) for name in names if (found := numbered.fullmatch(name))]
    whole = [n for n in epochs if {f"{stem}.{n}.json", f"{stem}.{n}.json.times"} <= names]
    if not whole:
        raise TransferFailed(f"{folder} is not whole: it was not uploaded, or removed since")
    return f"{folder}.{max(whole)}"


def _parts(layout: Layout, release: str) -> str:
    """Return a pattern of all that an upload of *release* leaves, of every epoch."""
    return rf"{re.escape(posixpath.basename(layout.part(release)))}\..*"


def _sweep(ctx: Acting, pattern: str) -> None:
    """Remove what in the folder of releases has a name like *pattern*."""
    folder = ctx.layout.releases
    named = re.compile(pattern, re.DOTALL)
    names = [name for name in files_of(ctx).names(folder) or () if named.fullmatch(name)]
    if names:
        files_of(ctx).remove(f"{folder}/{name}" for name in names)


def _steps(folder: str, path: str) -> Iterator[str]:
    """Give each folder below *folder* on the way to *path*, which is one too."""
    steps = [step for step in path.split("/") if step]
    for depth in range(1, len(steps) + 1):
        yield "/".join([folder, *steps[:depth]])
