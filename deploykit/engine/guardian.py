"""
The guardian: a small process on a host that brings the code back when the controller is gone.

It is armed before the first link of a run moves, and ends by itself once the journal says that the
run is confirmed or rolled back. What it would do is put there beforehand: the very commands that
the stages' own undo would run, under the same receipts. So each is done once, whoever is first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from deploykit.command import Command
from deploykit.engine.arming import NOWHERE, Does, start
from deploykit.engine.fleet import each
from deploykit.engine.journal import History, Record
from deploykit.engine.scene import Scene
from deploykit.environment import Environment
from deploykit.hosts import Host
from deploykit.publishing import UNDO_KEY
from deploykit.stage import AnyStage

__all__ = ["arm", "fired", "last_epoch", "notes", "publishes", "told"]

Stages = Mapping[str, AnyStage]
Plans = Mapping[tuple[str, str], Any]
KEEP = 2  # the highest rung on which the code goes back and the schema stays


def publishes(stage: AnyStage) -> bool:
    """Return whether *stage* moves a link."""
    return bool(getattr(stage, "publishes", False))


def arm(scene: Scene, plans: Plans) -> None:
    """
    Start a guardian on every host where a link will move; one of an earlier controller ends.

    Raises:
        TransportError: a host does not answer, or has no room for it.
    """
    hosts, _ = _hosts(scene.fleet.environment, scene.stages, plans)
    each({host: partial(_arm, scene, plans, host) for host in hosts})


def notes(environment: Environment, stages: Stages, plans: Plans) -> tuple[str, ...]:
    """Return what guardians would do, for `plan`; nothing where no link moves."""
    hosts, without = _hosts(environment, stages, plans)
    why = _obstacle(stages, plans)
    does = f"leaves the new code and marks the run as in need of a rollback: {why}"
    silence = f"if a host hears nothing of the controller for {_within(environment)} s"
    guarded = f"{silence}, its guardian {does if why else 'brings the code back by itself'}"
    bare = [
        f"no guardian on {host.label}: {_unguarded(host)}"
        for host in environment.hosts
        if host.label in without
    ]
    return (*(guarded,) * bool(hosts), *bare)


def told(found: History) -> str:
    """Return what guardians have done in a run, for people; empty if none has fired."""
    fired = {host: _fired(records) for host, records in found.records.items()}
    return "; ".join(_told(host, last, found.records[host]) for host, last in fired.items() if last)


def fired(found: History, host: str, epoch: int) -> str:
    """Return why the guardian on *host* fired, if it is what issued *epoch* there; else nothing."""
    last = _fired(found.records.get(host, ()))
    return str(last["reason"]) if last and last["epoch"] == epoch else ""


def last_epoch(found: History, host: str) -> int:
    """Return the epoch that the guardian on *host* issued when it fired; 0 if it has not."""
    last = _fired(found.records.get(host, ()))
    return int(last["epoch"]) if last else 0


def _arm(scene: Scene, plans: Plans, host: str) -> None:
    within = _within(scene.fleet.environment)
    why = _obstacle(scene.stages, plans)
    does: Does = "leave" if why else "back"
    reason = f"the guardian on {host} heard nothing of the controller for {within} s"
    record = {
        "kind": "needs_rollback" if why else "back",
        "run": scene.run.id,
        "host": host,
        "reason": f"{reason}, and left the new code running: {why}" if why else reason,
        "by": "guardian",
        "rejected": False,
    }
    messages = [] if why else list(_messages(scene, plans, host))
    how = start(scene.fleet.sessions[host], scene.run.id, messages, within, does, record)
    scene.owe(host, "armed", how=how, does=does, within=within)
    if how == NOWHERE:
        scene.events.tell("guardian_missing", host=host)
    else:
        scene.events.tell("guardian_armed", host=host, how=how)


def _messages(scene: Scene, plans: Plans, host: str) -> Iterator[str]:
    """Yield what the runner would be sent to undo what publishes and what pauses, newest first."""
    for name, stage in reversed(list(scene.stages.items())):
        if (name, host) not in plans:
            continue
        unit = scene.unit(name, "undo", 0, host)
        # Epoch and attempt are those of the firing; zeroes stand for them.
        for command in _commands(stage, plans[name, host]):
            yield replace(unit, epoch=0, owed=[]).message(command)


def _commands(stage: Any, plan: Any) -> Sequence[Command]:
    if publishes(stage):
        return (Command(UNDO_KEY, stage.undo_script(plan)),)
    return stage.undo_commands(plan) if getattr(stage, "pauses", ()) else ()


def _hosts(environment: Environment, stages: Stages, plans: Plans) -> tuple[list[str], list[str]]:
    """Return the hosts where a link moves: those with a guardian, and those without."""
    moved = {host for name, host in plans if publishes(stages[name])}
    ours = [host for host in environment.hosts if host.label in moved]
    without = [host.label for host in ours if _unguarded(host)]
    return [host.label for host in ours if host.label not in without], without


def _unguarded(host: Host) -> str:
    """Return why *host* can have no guardian; empty if it can."""
    if not host.shell:
        return "it has no shell, so a rollback needs somebody who types it"
    # The password would have to lie on the host for as long as the guardian is armed.
    return "sudo needs a password there" if host.sudo else ""


def _obstacle(stages: Stages, plans: Plans) -> str:
    """Return why the code must not go back by itself; empty if it may."""
    paused = False
    for name, stage in stages.items():
        if getattr(stage, "migrates", False):
            if any(_outgrown(stage, plan) for (unit, _), plan in plans.items() if unit == name):
                return f"the old code may not run on the schema that {name} makes"
        elif publishes(stage):
            paused = False
            if not hasattr(stage, "undo_script"):
                return f"{name} has no undo_script"
        elif getattr(stage, "pauses", ()):
            paused = True
            if not hasattr(stage, "undo_commands"):
                return f"{name} has no undo_commands"
        elif paused and not _apart(stage):
            return f"the old code is paused for {name}, and may not run after it"
    return ""


def _outgrown(stage: AnyStage, plan: Any) -> bool:
    """Return whether the old code may not run on the schema that *plan* leads to."""
    if getattr(stage, "online", False) or not getattr(plan, "pending", ()):
        return False
    return int(getattr(plan, "rung", KEEP + 1)) > KEEP


def _apart(stage: AnyStage) -> bool:
    """Return whether the old code does not meet what *stage* changes."""
    return any(getattr(stage, word, False) for word in ("apart", "is_check", "after_confirmed"))


def _within(environment: Environment) -> int:
    return math.ceil(environment.pipeline.confirm_within)


def _fired(records: Iterable[Record]) -> Record | None:
    """Return the last record by which a guardian has fired."""
    return next((r for r in reversed(tuple(records)) if r.get("by") == "guardian"), None)


def _told(host: str, last: Record, records: Iterable[Record]) -> str:
    if last["kind"] == "needs_rollback":
        return str(last["reason"])
    ours = (UNDO_KEY, "undo")
    undo = [r.get("rc") for r in records if (r.get("key"), r.get("direction")) == ours]
    if not undo:
        return f"the guardian on {host} stopped the run; no link had moved there"
    became = {None: "began to bring the code back", 0: "brought the code back"}
    failed = f"could not bring the code back (exit {undo[-1]})"
    return f"the guardian on {host} {became.get(undo[-1], failed)}"
