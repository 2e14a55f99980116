"""The pack phase: what is built and read on the operator's machine before any host is asked."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deploykit.engine.events import Events
from deploykit.errors import CommandFailed
from deploykit.processes import end_group
from deploykit.stage import AnyStage, Pack, Packing

__all__ = ["Packed", "copied", "newest_commit", "pack"]


@dataclass(frozen=True)
class Packed:
    """
    What was packed.

    Args:
        packs: by stage name.
        content: the sha256 that names all of it; empty if nothing was packed.
        commit: the source's commit, where git knows it.
    """

    packs: Mapping[str, Pack]
    content: str
    commit: str


def pack(
    project: Path, stages: Sequence[AnyStage], events: Events, *, build: bool = True
) -> Packed:
    """
    Let every stage that packs do so, in order.

    Args:
        project: where commands run and sources lie.
        stages: of the pipeline.
        events: told of the output of builds.
        build: false leaves out the stages that build (`Local`).

    Raises:
        CommandFailed: a build failed.
        ConfigurationError: a source is not as it must be.
    """
    packs: dict[str, Pack] = {}
    for stage in stages:
        packer = getattr(stage, "pack", None)
        if packer is None or (getattr(stage, "builds", False) and not build):
            continue
        told = events.bind(stage=stage.name)
        made = packer(Packing(project, partial(_run, project, stage.name, told), told.tell))
        if made is not None:
            packs[stage.name] = made
    return Packed(packs, _content(packs), newest_commit(project))


@contextmanager
def copied(project: Path) -> Iterator[Path]:
    """Give a temporary copy of *project*, for builds whose traces must not stay."""
    with tempfile.TemporaryDirectory(prefix="deploykit-plan-") as folder:
        copy = Path(folder) / project.name
        shutil.copytree(project, copy, symlinks=True, ignore_dangling_symlinks=True)
        yield copy


def newest_commit(project: Path) -> str:
    """Return the commit that *project* is at; empty where git does not say."""
    return git(project, "rev-parse", "HEAD")


def older(project: Path, commit: str, live: str) -> bool:
    """Return whether *commit* is strictly older than *live*, as far as git knows both."""
    if not commit or not live or commit == live:
        return False
    command = ["git", "-C", str(project), "merge-base", "--is-ancestor", commit, live]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:  # no git here
        return False


def git(project: Path, *words: str) -> str:
    """Return what git answers in *project*, or nothing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *words], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _content(packs: Mapping[str, Pack]) -> str:
    """Name the content of all packs: that of the only one, or a digest of several."""
    contents = [made.manifest.content for made in packs.values()]
    if len(contents) <= 1:
        return "".join(contents)
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def _run(project: Path, stage: str, events: Events, command: str, env: Mapping[str, str]) -> None:
    """Run *command* by sh in *project* and tell its output line by line."""
    with subprocess.Popen(
        ["/bin/sh", "-e", "-c", command],
        cwd=project,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
    ) as process:
        lines = []
        try:
            for line in process.stdout or ():
                lines.append(line)
                events.tell("local_output", text=line.rstrip("\n"))
            code = process.wait()
        except BaseException:  # a signal to us: what we started must not go on alone
            end_group(process)
            raise
    if code:
        raise CommandFailed(
            f"{stage}: {command!r} failed on this machine (exit {code})",
            exit_code_of_command=code,
            output=events.scrubber.text("".join(lines[-20:])),
        )
