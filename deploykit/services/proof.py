"""The proof that a service runs a release: a pure judgement of what the host said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from deploykit.publishing import Mark
from deploykit.services.facts import Facts, Process

__all__ = ["Verdict", "judge", "running_release"]


@dataclass(frozen=True)
class Verdict:
    """
    What the facts say of a claim.

    Args:
        outcome: `proven`; `unknown` if nothing on the host can tell; `no` if it is not so now but
            may become so; `dead` if the service is down and will not come up by itself.
        why: the reason, for a person.
    """

    outcome: Literal["proven", "unknown", "no", "dead"]
    why: str = ""


def judge(facts: Facts, release: str, mark: Mark, *, reloads: bool = False) -> Verdict:
    """
    Judge the claim that the service runs *release*.

    Args:
        facts: what the host said.
        release: its id.
        mark: when the link moved to it.
        reloads: its main process may be older, because it was asked to reload; its workers count.
    """
    if not facts.coming:
        return Verdict("dead", f"it is {facts.said or facts.state}")
    if facts.state != "active":
        return Verdict("no", f"it is {facts.said or facts.state}")
    if facts.checked:
        return Verdict("proven")
    if facts.processless:
        return Verdict("proven")
    since = mark.tick if mark.boot == facts.ground.boot else 0
    return _judge_processes(facts, release, since, reloads)


def _judge_processes(facts: Facts, release: str, since: int, reloads: bool) -> Verdict:
    leading = _leading(facts, reloads)
    if not leading:
        return Verdict("unknown", "it has no process of its own that could be looked at")
    counted = [p for p in facts.processes if not (reloads and p.pid in facts.mains)] or leading
    for process in counted:
        others = _releases(facts, process) - {release}
        if others:
            return Verdict("no", f"process {process.pid} runs release {_names(others)}")
    for process in leading:
        if release in _releases(facts, process):
            continue
        if process.start < since:
            return Verdict("no", f"process {process.pid} is older than the release's publishing")
        if not _placed(facts, process):
            return Verdict("unknown", _unplaced(facts, process))
    for process in counted:
        if process.start < since and release not in _releases(facts, process):
            return Verdict("unknown", f"process {process.pid} is left from before")
    return Verdict("proven")


def running_release(facts: Facts, *, reloads: bool = False) -> str:
    """Return the release that the service is seen to run; empty where that cannot be told."""
    leading = _leading(facts, reloads)
    seen = {release for process in leading for release in _releases(facts, process)}
    if seen:
        return _names(seen)
    ground = facts.ground
    since = ground.tick if ground.published == ground.link else ground.moved
    placed = leading and all(_placed(facts, process) for process in leading)
    if placed and all(process.start >= since for process in leading):
        return ground.link
    return ""


def _leading(facts: Facts, reloads: bool) -> list[Process]:
    """Return the processes that carry the application: the main ones, or a reload's workers."""
    mains = [process for process in facts.processes if process.pid in facts.mains]
    workers = [process for process in facts.processes if process.parent in facts.mains]
    return (workers or mains) if reloads else mains


def _releases(facts: Facts, process: Process) -> set[str]:
    """Return the releases under whose folders a process is seen to be."""
    text = "\n".join([process.cwd, process.exe, *process.args])
    roots = "|".join(re.escape(root) for root in facts.ground.roots)
    found = re.findall(rf"(?:^|[=:,])(?:{roots})/releases/([^/\n]+)", text, re.MULTILINE)
    return {release.removesuffix(" (deleted)") for release in found}


def _placed(facts: Facts, process: Process) -> bool:
    """Return whether the service's configuration, or the process's arguments, name `current`."""
    text = "\n".join([*facts.places, *process.args])
    roots = "|".join(re.escape(root) for root in facts.ground.roots)
    return bool(re.search(rf"(?:^|[\s=:,!-])(?:{roots})/current(?:[/\s:,;]|$)", text, re.MULTILINE))


def _unplaced(facts: Facts, process: Process) -> str:
    who = f" of {facts.account}" if facts.account else ""
    root = facts.ground.roots[0] if facts.ground.roots else ""
    seen = "shows no folder of a release" if process.cwd else "may not be looked into"
    return (
        f"process {process.pid}{who} {seen}, and neither the service's working directory "
        f"nor its command lies under {root}/current"
    )


def _names(releases: set[str]) -> str:
    return ", ".join(sorted(releases))
