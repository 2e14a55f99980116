"""Looks at this machine: the source, the tools of local commands, the secrets that lie here."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploykit.engine.events import Events
from deploykit.engine.fleet import secrets_in
from deploykit.engine.pack import pack
from deploykit.engine.resolver import Resolver
from deploykit.environment import Environment
from deploykit.errors import DeploykitError, SecretMissing
from deploykit.findings import Finding
from deploykit.report.units import size
from deploykit.stage import Pack

__all__ = ["Packs", "examine"]

Packs = Mapping[str, Pack] | None
BUILTINS = frozenset({"cd", "export", "set", "test", "[", "if", "for", "while", "exec", "."})


def examine(environment: Environment, events: Events) -> tuple[list[Finding], Packs]:
    """
    Look at this machine.

    Returns:
        Findings, and what was packed; None where nothing could be.
    """
    findings = [*_tools(environment), *_secrets(environment, events)]
    project = environment.project or Path.cwd()
    builds = [s.name for s in environment.pipeline.stages if getattr(s, "builds", False)]
    try:
        packed = pack(project, environment.pipeline.stages, events, build=False)
    except DeploykitError as error:
        if builds:
            what = f"the source cannot be read before {', '.join(builds)} has built it"
            return [*findings, Finding.warning(f"{what}: {error.what}")], None
        return [*findings, Finding.problem(error.what, error.then)], None
    for name, made in packed.packs.items():
        files, total = len(made.manifest.files), size(made.manifest.size)
        findings.append(Finding.ok(f"{name}: {files} files, {total} from {made.source}"))
    return findings, packed.packs


def _tools(environment: Environment) -> Iterator[Finding]:
    """Look for the program that each local command begins with."""
    for stage in environment.pipeline.stages:
        command = getattr(stage, "command", None)
        if not getattr(stage, "builds", False) or not isinstance(command, str):
            continue
        program = _first_word(command)
        if not program or program in BUILTINS:
            continue
        project = environment.project or Path.cwd()
        if shutil.which(program) or (project / program).is_file():
            yield Finding.ok(f"{stage.name}: {program} is here")
        else:
            yield Finding.problem(
                f"{stage.name}: {program} is not on this machine", f"install {program}"
            )


def _first_word(command: str) -> str:
    """Return the program that *command* begins with; empty where that cannot be told."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    programs = [word for word in words if "=" not in word]
    first = programs[0] if programs else ""
    return "" if set(first) & set("$`(){};&|<>*?") else first


def _secrets(environment: Environment, events: Events) -> Iterator[Finding]:
    """Read every secret that lies on this machine."""
    wanted = [environment.pipeline.stages, environment.hosts, environment.notify]
    secrets = {secret for secret in secrets_in(wanted) if secret.source in ("env", "file")}
    resolver = Resolver(environment.name, environment.project or Path.cwd(), {}, events.scrubber)
    for secret in sorted(secrets, key=str):
        try:
            resolver.secret(secret)
        except SecretMissing as error:
            yield Finding.problem(error.what, error.then)
        else:
            yield Finding.ok(f"{secret} can be read")
