"""Bringing a release to the hosts: complete under its final name, or not there at all."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from deploykit.command import Command
from deploykit.errors import ConfigurationError, TransferFailed
from deploykit.release import Entry, Manifest
from deploykit.sftp_only import releases
from deploykit.shell import fill
from deploykit.source import read_tree
from deploykit.stage import Acting, Pack, Packing, Planning

__all__ = ["Transfer", "TransferPlan"]

LARGEST = 5  # files that `plan` names

_OTHERS = """for part in {0}/.*.part.*; do
  case $part in {1}*) continue ;; esac
  [ ! -e "$part" ] || {{ chmod -R u+w -- "$part" || :; rm -rf -- "$part"; }}
done"""
_SWEEP = "chmod -R u+w -- {0}.* 2>/dev/null || :\nrm -rf -- {0}.*"  # of every epoch


@dataclass(frozen=True)
class TransferPlan:
    """
    What is sent, and which shared paths are linked into it.

    Args:
        release: its id.
        content: the manifest's sha256.
        files: how many.
        size: bytes of all files.
        largest: the largest files, for the reader.
        shared: shared paths, relative.
        made: shared folders that are not there yet, a folder before what is in it.
        like: the live release, of which the host has the other files; empty if there is none.
        new: how many files that release does not have, as its manifest says.
        new_size: bytes of these.
    """

    release: str
    content: str
    files: int
    size: int
    largest: tuple[str, ...]
    shared: tuple[str, ...]
    made: tuple[str, ...]
    like: str = ""
    new: int = 0
    new_size: int = 0

    def describe(self) -> tuple[str, ...]:
        """Return the lines that `deploykit plan` prints."""
        lines = [f"{self.files} files, {readable(self.size)}, into releases/{self.release}"]
        if self.like and self.new:
            what = f"{self.new} of them, {readable(self.new_size)}"
            lines.append(f"send {what}; the host has the rest in {self.like}")
        elif self.like:
            lines.append(f"send nothing; the host has all of them in {self.like}")
        lines += [f"largest: {name}" for name in self.largest]
        lines += [f"shared: {path} -> shared/{path}" for path in self.shared]
        lines += [f"make: shared/{path}" for path in self.made]
        return tuple(lines)


@dataclass(frozen=True)
class Transfer:
    """
    Send a folder to each host as a new release: what has changed since the live one.

    Args:
        source: the folder, relative to the project root.
        exclude: patterns in gitignore syntax, beside the defaults and `.deployignore`.
        shared: paths that outlive releases, linked into each: `"media/"` is a folder, made when
            absent; `".env"` is a file that must be there.
        on: the role of the hosts; all by default.
        name: unique in the pipeline.
    """

    source: str = "."
    exclude: Sequence[str] = ()
    shared: Sequence[str] = ()
    on: str | None = None
    name: str = "transfer"

    makes_release = True
    apart = True
    needs_shell = False

    def __post_init__(self) -> None:
        for field in ("exclude", "shared"):
            value = getattr(self, field)
            if isinstance(value, str):
                raise ConfigurationError(f"Transfer({field}={value!r}): a list, even of one")
            object.__setattr__(self, field, tuple(value))
        for path in self.shared:
            if not path.strip("/") or path.startswith("/") or ".." in path.split("/"):
                raise ConfigurationError(f"Transfer(shared=[{path!r}]): a path inside the release")

    def pack(self, ctx: Packing) -> Pack:
        """Read the source and hash it."""
        source = (ctx.project / self.source).resolve()
        manifest = read_tree(source, self.exclude)
        paths = {entry.path for entry in manifest.entries}
        for shared in self.shared:
            if posixpath.normpath(shared) in paths:
                raise ConfigurationError(
                    f"{shared!r} is both in the source {str(source)!r} and a shared path",
                    state="nothing was touched",
                    then="exclude it from the source, or take it out of shared=",
                )
        return Pack(source, manifest)

    def plan(self, ctx: Planning) -> TransferPlan:
        """See `Stage`."""
        manifest = ctx.packs[self.name].manifest
        missing = self._missing(ctx)
        files = [path for path in missing if not path.endswith("/")]
        if files:
            raise ConfigurationError(
                f"{ctx.host.name}: the shared file {files[0]!r} is not there",
                state="nothing was touched",
                then=f"send it: deploykit shared put {ctx.run.environment} {files[0]}",
            )
        _check_space(ctx, manifest.size)
        like = "" if ctx.host.sftp is not None and not ctx.host.sftp.copies else ctx.current
        new = _new(ctx, manifest) if like else manifest.files
        largest = sorted(manifest.files, key=lambda entry: -entry.size)[:LARGEST]
        return TransferPlan(
            release=ctx.run.release,
            content=manifest.content,
            files=len(manifest.files),
            size=manifest.size,
            largest=tuple(f"{entry.path} ({readable(entry.size)})" for entry in largest),
            shared=tuple(self.shared),
            made=tuple(path for path in missing if path.endswith("/")),
            like=like,
            new=len(new),
            new_size=sum(entry.size for entry in new),
        )

    def apply(self, ctx: Acting, plan: TransferPlan) -> None:
        """See `Stage`."""
        part = ctx.layout.part(plan.release)
        if (files := ctx.host.sftp) is not None:
            releases.begin(ctx, plan.release, plan.made)
            if not releases.is_there(files, ctx.release_path):
                self._upload(ctx, plan, part)
            releases.finish(ctx, plan.release, plan.shared)
            return
        begin = ctx.host.change(Command("begin", _begin_script(ctx, plan), again=True))
        if not (begin.before and self._is_whole(ctx, plan)):
            self._upload(ctx, plan, part)
        ctx.host.change(Command("finish", _finish_script(ctx, plan, part), again=True))

    def undo(self, ctx: Acting, plan: TransferPlan) -> None:
        """Remove what is half there; a whole release stays, marked `bad`."""
        if ctx.host.sftp is not None:
            releases.discard(ctx, plan.release, plan.made)
            return
        lines = [fill(_SWEEP, ctx.layout.part(plan.release))]
        lines += [
            fill("rmdir -- {} 2>/dev/null || :", f"{ctx.layout.shared}/{path}")
            for path in reversed(plan.made)
        ]
        ctx.host.change(Command("remove", "\n".join(lines), again=True))

    def _upload(self, ctx: Acting, plan: TransferPlan, part: str) -> None:
        """
        Bring what was packed.

        Raises:
            TransferFailed: it is not here, as where another machine goes on.
        """
        pack = ctx.packs.get(self.name)
        if pack is None or pack.manifest.content != plan.content:
            raise TransferFailed(
                f"release {plan.release} is not complete on {ctx.host.name}, "
                "and its contents are not here"
            )
        ctx.host.upload(pack.source, pack.manifest, part, like=ctx.current)

    def _missing(self, ctx: Planning) -> tuple[str, ...]:
        """Return the shared paths that are not on the host, a folder before what is in it."""
        if not self.shared:
            return ()
        wanted = _with_parents(self.shared)
        if (files := ctx.host.sftp) is not None:
            return releases.absent(files, ctx.layout, wanted)
        tests = "\n".join(
            fill("[ -e {} ] || echo {}", f"{ctx.layout.shared}/{path}", index)
            for index, path in enumerate(wanted)
        )
        found = ctx.host.query(tests).output.split()
        return tuple(wanted[int(index)] for index in found)

    def _is_whole(self, ctx: Acting, plan: TransferPlan) -> bool:
        return ctx.host.query(fill("[ -d {} ]", ctx.layout.release(plan.release)), check=False).ok


def readable(size: float) -> str:
    """Return *size*, in bytes, as people read it: `1.4 MB`."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _with_parents(shared: Sequence[str]) -> tuple[str, ...]:
    """Return *shared* with the folders on the way to each folder, before it."""
    wanted: dict[str, None] = {}
    for path in shared:
        ends = [at + 1 for at, letter in enumerate(path) if letter == "/" and path.endswith("/")]
        wanted |= dict.fromkeys([path[:end] for end in ends] or [path])
    return tuple(wanted)


def _begin_script(ctx: Acting, plan: TransferPlan) -> str:
    lay = ctx.layout
    lines = [
        fill("mkdir -p -- {}", lay.releases),
        # Whoever was cut off from an earlier run in silence may have written after its end.
        fill(_OTHERS, lay.releases, f"{lay.releases}/.{plan.release}."),
        fill("[ -d {0} ] || {{ mkdir -p -- {0}; chmod 2770 {0}; }}", lay.shared),
    ]
    lines += [
        fill("[ -d {0} ] || {{ mkdir -- {0}; chmod 2770 {0}; }}", f"{lay.shared}/{path}")
        for path in plan.made
    ]
    return "\n".join(lines)


def _finish_script(ctx: Acting, plan: TransferPlan, part: str) -> str:
    """Link the shared paths in, flush, and give the release its name: one rename."""
    final = ctx.layout.release(plan.release)
    # The epoch is no part of the text, since a resume, whose is another, must find the receipt.
    lines = [
        fill("if [ -d {} ]; then exit 0; fi", final),
        fill('part={}.$DEPLOYKIT_EPOCH\ncd -- "$part"', part),
    ]
    for path in plan.shared:
        name = path.rstrip("/")
        up = "../" * (2 + name.count("/"))
        parent = name.rpartition("/")[0]
        if parent:
            lines.append(fill("mkdir -p -- {}", parent))
        lines.append(fill("ln -sfn -- {} {}", f"{up}shared/{name}", f"./{name}"))
    manifest = ctx.layout.manifest(plan.release)
    lines += ["cd ..", "sync"]
    # First, since a release that is there has a manifest; unless it was cut between the two.
    lines.append(fill('[ ! -e "$part.json" ] || mv -- "$part.json" {}', manifest))
    lines.append(fill('mv -- "$part" {}', final))
    lines.append(fill("sync . {}", posixpath.dirname(manifest)))
    lines.append(fill(_SWEEP, part))
    return "\n".join(lines)


def _new(ctx: Planning, manifest: Manifest) -> tuple[Entry, ...]:
    """Return the files that the live release does not have, by what its manifest says."""
    live = ctx.ledger.find(ctx.current)
    if live and live.content == manifest.content:
        return ()
    there = _claimed(ctx, ctx.layout.manifest(ctx.current))
    known = {entry.sha256 for entry in Manifest.claimed(there).entries}
    return tuple(entry for entry in manifest.files if entry.sha256 not in known)


def _claimed(ctx: Planning, path: str) -> str:
    """Return the manifest *path*; nothing where it is not there."""
    if (files := ctx.host.sftp) is not None:
        return files.read([path]).get(path, b"").decode(errors="replace")
    return ctx.host.query(fill("cat -- {} 2>/dev/null || :", path)).output


def _free(ctx: Planning) -> int | None:
    """Return the bytes left on the host's disk, where it says so."""
    if (files := ctx.host.sftp) is not None:
        return releases.free(files, ctx.layout)
    free = ctx.host.query("df -Pk . | awk 'NR == 2 { print $4 }'").output.strip()
    return int(free) * 1024 if free.isdigit() else None


def _check_space(ctx: Planning, size: int) -> None:
    """
    Refuse what cannot fit.

    Raises:
        ConfigurationError: the host's disk has less room than the release needs.
    """
    free = _free(ctx)
    if free is not None and free < size:
        raise ConfigurationError(
            f"{ctx.host.name}: the release needs {readable(size)}, "
            f"and {ctx.layout.root} has {readable(free)} left",
            state="nothing was touched",
            then=f"make room there; old releases: deploykit releases {ctx.run.environment}",
        )
