"""What is refused, before anything is touched."""

from __future__ import annotations

from pathlib import Path

from deploykit.engine.fleet import Fleet
from deploykit.engine.journal import History
from deploykit.engine.lock import Holder, holder, release
from deploykit.engine.pack import older
from deploykit.engine.scene import Scene, read_history
from deploykit.engine.sealing import sealed_schema
from deploykit.engine.status import all_runs
from deploykit.errors import LockHeld, Refused, StillAtWork
from deploykit.release import LedgerLine
from deploykit.shell import fill

__all__ = [
    "at_work",
    "content",
    "free",
    "held_by_hand",
    "notes",
    "undoable",
    "unfinished",
]


def content(scene: Scene, project: Path, *, again: bool) -> None:
    """
    Refuse content that was rejected before, and commits older than the live one.

    Raises:
        Refused: and `--again` overrides.
    """
    reasons = _refusals(scene, project)
    if reasons and not again:
        raise Refused(
            reasons[0],
            state="nothing was touched",
            then=f"if you mean it: deploykit run {scene.run.environment} --again",
        )


def notes(scene: Scene, project: Path) -> tuple[str, ...]:
    """Return what `run` would refuse, for `plan`."""
    return tuple(f"run would refuse this: {reason}" for reason in _refusals(scene, project))


def unfinished(fleet: Fleet, error: LockHeld) -> None:
    """
    Turn a held lock into a refusal if its run is unfinished and its controller is gone.

    Raises:
        Refused: naming `resume` and `rollback`.
    """
    for found in fleet.each(holder).values():
        if found is None or found.alive or found.new or found.owner.run.startswith("manual-"):
            continue
        history = read_history(fleet, found.owner.run)
        name = fleet.environment.name
        raise Refused(
            f"run {found.owner.run} of {found.owner.by} is unfinished ({history.state}), "
            f"and its controller is gone",
            state="nothing was touched now",
            then=f"finish it: deploykit resume {name}  or undo it: deploykit rollback {name}",
        ) from error


def at_work(environment: str, host: str, found: Holder) -> StillAtWork:
    """Return the error for a run whose controller is there."""
    owner = found.owner
    return StillAtWork(
        f"run {owner.run} of {owner.by} is at work on {host}: "
        f"heartbeat {found.idle:.0f} s ago, its connection stands",
        state="nothing was touched",
        then=f"wait for it, or take it over: deploykit resume {environment} --takeover",
    )


def held_by_hand(environment: str, found: Holder) -> LockHeld:
    """Return the error for a lock that a person took."""
    owner = found.owner
    return LockHeld(
        f"{environment} is locked by {owner.by} since {owner.at}: {owner.reason}",
        state="nothing was touched",
        then=f"when that is over: deploykit lock release {environment}",
    )


def undoable(fleet: Fleet, wanted: str | None, *, accept_loss: bool) -> tuple[History, ...]:
    """
    Return the confirmed runs to undo, newest first, to go back one release or down to *wanted*.

    Raises:
        Refused: there is none, or a sealed schema stands between.
    """
    deploys = [
        run
        for run in all_runs(fleet)
        if run.opening
        and run.opening["action"] == "deploy"
        and run.state in ("confirmed", "sealed")
    ]
    name = fleet.environment.name
    if not deploys:
        raise Refused(f"{name} has no run to go back from", then=f"look: deploykit runs {name}")
    chosen = deploys[:1] if wanted is None else _down_to(deploys, wanted, name)
    losses = [loss for run in chosen if (loss := sealed_schema(fleet, run))]
    if losses and not accept_loss:
        raise Refused(
            "a rollback would lose data:\n  " + "\n  ".join(losses),
            state="nothing was touched",
            then=f"if you accept it: deploykit rollback {name} {wanted or ''} --accept-loss",
        )
    return tuple(chosen)


def free(fleet: Fleet, *, force: bool) -> str:
    """Free the lock on all hosts; see `api.lock_release`."""
    holders = {name: found for name, found in fleet.each(holder).items() if found}
    if not holders:
        return ""
    first = next(iter(holders.values()))
    by_hand = first.owner.run.startswith("manual-")
    if not by_hand and not force:
        raise LockHeld(
            f"the lock belongs to run {first.owner.run} of {first.owner.by}",
            then=f"better than --force: deploykit resume {fleet.environment.name}, or rollback",
        )
    for name in holders:
        session = fleet.sessions[name]
        idle = session.query(fill("flock -n {}/gate true", session.layout.private), check=False)
        if idle.exit_code == 1:
            raise LockHeld(f"a command of run {first.owner.run} still runs on {name}")
        if not by_hand:
            record = {"kind": "lock_forced", "run": first.owner.run, "host": name}
            session.append(f"runs/{first.owner.run}/journal.jsonl", [record])
    for found in {held.owner.run for held in holders.values()}:
        release(fleet, found)
    return first.owner.run


def _refusals(scene: Scene, project: Path) -> list[str]:
    reasons = []
    for host, world in scene.worlds.items():
        rejected = world.ledger.rejected(scene.run.content) if scene.run.content else None
        if rejected:
            reasons.append(
                f"this content was rolled back before: release {rejected.id}, "
                f"{rejected.at}, on {host}"
            )
        live: LedgerLine | None = world.ledger.find(world.current)
        if live and older(project, scene.run.commit, live.commit):
            reasons.append(
                f"commit {scene.run.commit[:12]} is older than {live.commit[:12]}, "
                f"which is live on {host}"
            )
    return reasons


def _down_to(deploys: list[History], wanted: str, name: str) -> list[History]:
    releases = [run.opening["release"] for run in deploys if run.opening]
    matches = [release for release in releases if release == wanted or release.startswith(wanted)]
    if len(matches) != 1:
        raise Refused(
            f"{wanted!r} names {len(matches) or 'no'} release that can be gone back to",
            then=f"choose one of: deploykit releases {name}",
        )
    at = releases.index(matches[0])
    if at == 0:
        raise Refused(f"{matches[0]} is the newest release already; nothing to undo")
    return deploys[:at]
