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
    unseen = [process for process in leading if release not in _releases(facts, process)]
    for process in unseen:
        doubt = _doubt(facts, process, since, reloads)
        if doubt:
            return doubt
    for process in counted:
        if process.start < since and release not in _releases(facts, process):
            return Verdict("unknown", f"process {process.pid} is left from before")
    return Verdict("proven")


def _doubt(facts: Facts, process: Process, since: int, reloads: bool) -> Verdict | None:
    """Return why a process whose folder is not seen may not be the release's; None if it must."""
    if process.start < since:
        return Verdict("no", f"process {process.pid} is older than the release's publishing")
    old_master = reloads and not _fresh_master(facts, process, since)
    if old_master and not _moved(facts, process):
        return Verdict("unknown", _unmoved(facts, process))
    if not old_master and not _placed(facts, process):
        return Verdict("unknown", _unplaced(facts, process))
    return None


def running_release(facts: Facts, *, reloads: bool = False) -> str:
    """Return the release that the service is seen to run; empty where that cannot be told."""
    leading = _leading(facts, reloads)
    seen = {release for process in leading for release in _releases(facts, process)}
    if seen:
        return _names(seen)
    ground = facts.ground
    since = ground.tick if ground.published == ground.link else ground.moved
    placed = leading and all(
        _moved(facts, process)
        if reloads and not _fresh_master(facts, process, since)
        else _placed(facts, process)
        for process in leading
    )
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


def _fresh_master(facts: Facts, process: Process, since: int) -> bool:
    """Return whether the master that forked *process* itself began after the link moved."""
    masters = [p for p in facts.processes if p.pid in (process.parent, process.pid)]
    return all(p.start >= since for p in masters if p.pid in facts.mains)


def _moved(facts: Facts, process: Process) -> bool:
    """
    Return whether a worker was told to go to `current`.

    A reloaded master forks its workers in the folder where it was itself started: neither that
    nor the path of its program shows that they serve what the link points to now. gunicorn and
    uwsgi follow the link where an option such as `--chdir` names it.
    """
    family = [p for p in facts.processes if p.pid in (process.parent, process.pid)]
    text = "\n".join(word for p in family for word in p.args)
    roots = "|".join(re.escape(root) for root in facts.ground.roots)
    option = "--(?:chdir|pythonpath|app-dir)="
    return bool(re.search(rf"^{option}(?:{roots})/current(?:/|$)", text, re.MULTILINE))


def _unmoved(facts: Facts, process: Process) -> str:
    root = facts.ground.roots[0] if facts.ground.roots else ""
    return (
        f"process {process.pid} was forked by a master that may still be in an older release; "
        f"give the service --chdir {root}/current, or Restart a url= that answers the release's id"
    )


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
