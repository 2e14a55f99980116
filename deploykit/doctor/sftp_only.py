"""Looks at a host that has SFTP and no shell: what works there, and what cannot."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from deploykit.engine.guardian import publishes
from deploykit.engine.sftp_only.session import SftpSession
from deploykit.environment import Environment
from deploykit.files import FilesToLookAt
from deploykit.findings import Finding
from deploykit.report.units import size

__all__ = ["examine"]

LITTLE, TOO_LITTLE = 2e9, 2e8  # bytes free: as where there is a shell


def examine(environment: Environment, session: SftpSession) -> Iterator[Finding]:
    """Look at the host of *session*."""
    name, lay = session.name, session.layout
    files = session.files_to_look_at()
    yield Finding.ok("connected by SFTP; its key is known", host=name)
    yield from _root(files, lay.root, name)
    yield from _room(files, lay.root, name)
    yield from _links(environment, files, lay.private, name)
    if environment.pipeline.env_file and session.read(lay.under(environment.pipeline.env_file)):
        yield Finding.ok(f"{environment.pipeline.env_file} is there", host=name)
    yield Finding(
        "ok",
        "no shell (Host(shell=False)): releases, a link, rollbacks; no command can run there, "
        "files are verified by size and time only, no guardian brings the code back by itself, "
        "and a controller whose run is taken over stops only before its next effect",
        "",
        name,
    )


def _root(files: FilesToLookAt, root: str, host: str) -> Iterator[Finding]:
    there = root
    while not (found := files.look([there])) and there != "/":
        there = posixpath.dirname(there)
    if there == root and found[root].kind == "dir":
        yield Finding.ok(f"{root} is there", host=host)
    elif there == root:
        yield Finding.problem(f"{root} is no folder", "choose another root=", host=host)
    else:
        # Whether we may is known only by doing it, and looking must change nothing.
        yield Finding.warning(
            f"{root} is not there; a run makes it, if {there} lets this user",
            f"sftp> mkdir {root}",
            host=host,
        )


def _room(files: FilesToLookAt, root: str, host: str) -> Iterator[Finding]:
    free = files.free(root) if files.look([root]) else files.free("/")
    if free is None:
        yield Finding("ok", "it does not say how much room there is", "", host)
    elif free < LITTLE:
        make = Finding.problem if free < TOO_LITTLE else Finding.warning
        yield make(f"only {size(free)} free", "remove old files there", host=host)
    else:
        yield Finding.ok(f"{size(free)} free", host=host)


def _links(
    environment: Environment, files: FilesToLookAt, private: str, host: str
) -> Iterator[Finding]:
    if not any(publishes(stage) for stage in environment.pipeline.stages):
        return
    if files.target(f"{private}/links") is not None:
        yield Finding.ok("it makes symbolic links", host=host)
    elif files.look([private]):
        yield Finding.problem("it makes no symbolic links, which publishing needs", host=host)
    else:
        yield Finding("ok", "whether it makes symbolic links shows at the first run", "", host)
