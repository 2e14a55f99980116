"""What is refused, before anything is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploykit.engine import guardian
from deploykit.engine.fleet import Fleet
from deploykit.engine.journal import History
from deploykit.engine.lock import Holder, holder
from deploykit.engine.lock import force as unlock
from deploykit.engine.pack import older
from deploykit.engine.scene import Scene, read_history
from deploykit.engine.sealing import sealed_schema
from deploykit.engine.status import all_runs, is_done_deploy
from deploykit.errors import LockHeld, Refused, StillAtWork
from deploykit.release import LedgerLine

__all__ = [
    "at_work",
    "content",
    "free",
    "held_by_hand",
    "left_open",
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


def notes(scene: Scene, project: Path, plans: guardian.Plans) -> tuple[str, ...]:
    """Return what `run` would refuse, and what guardians would do, for `plan`."""
    refused = (f"run would refuse this: {reason}" for reason in _refusals(scene, project))
    return (*refused, *guardian.notes(scene.fleet.environment, scene.stages, plans))


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
        raise _unfinished(fleet, history, found.owner.by) from error


def left_open(scene: Scene) -> None:
    """
    Refuse a new run over one that is unfinished, and whose lock somebody has freed by force.

    Raises:
        Refused: naming `resume` and `rollback`.
    """
    for run in sorted({run for world in scene.worlds.values() for run in world.open}):
        history = read_history(scene.fleet, run)
        if run != scene.run.id and history.must_stay_locked:
            raise _unfinished(scene.fleet, history, str((history.opening or {}).get("by", "?")))


def newest(fleet: Fleet, run: str) -> None:
    """
    Check, now that the lock is held, that *run* still is what a rollback begins with.

    Raises:
        Refused: another run was there before the lock was ours, and must be undone or finished
            first.
    """
    for other in all_runs(fleet):
        if other.run == run:
            return
        if other.must_stay_locked:
            raise _unfinished(fleet, other, str((other.opening or {}).get("by", "?")))
        if is_done_deploy(other):
            raise Refused(
                f"run {other.run} has ended meanwhile, and is newer than {run}",
                state="nothing was touched",
                then=f"look: deploykit runs {fleet.environment.name}",
            )


def _unfinished(fleet: Fleet, found: History, by: str) -> Refused:
    name = fleet.environment.name
    did = guardian.told(found)
    return Refused(
        f"run {found.run} of {by} is unfinished ({found.state}), and its controller is gone"
        + (f"; {did}" if did else ""),
        state="nothing was touched now",
        then=f"finish it: deploykit resume {name}  or undo it: deploykit rollback {name}",
    )


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
        Refused: there is none, or the newest is rolled back already, or the release was pruned, or
            a sealed schema stands between.
    """
    every = all_runs(fleet)
    deploys = [run for run in every if is_done_deploy(run)]
    name = fleet.environment.name
    newest = next((run for run in every if run.opening and run.opening["action"] != "backup"), None)
    if wanted is None and newest and newest.state == "rolled_back":
        # Who types it may have seen that run fail, and not that it has gone back by itself.
        raise Refused(
            f"the newest run, {newest.run}, is rolled back already",
            state="nothing was touched",
            then=f"to go back further, name the release: deploykit rollback {name} RELEASE",
        )
    if not deploys:
        raise Refused(f"{name} has no run to go back from", then=f"look: deploykit runs {name}")
    chosen = deploys[:1] if wanted is None else _down_to(deploys, wanted, name)
    missing = _pruned(fleet, chosen)
    if missing:
        raise Refused(
            "these releases are gone, and cannot be gone back to: " + ", ".join(missing),
            state="nothing was touched",
            then=f"choose one that is there: deploykit releases {name}",
        )
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
        if session.busy():
            raise LockHeld(f"a command of run {first.owner.run} still runs on {name}")
        if not by_hand:
            record = {"kind": "lock_forced", "run": first.owner.run, "host": name}
            session.append(f"runs/{first.owner.run}/journal.jsonl", [record], session.epoch())
    for run in {held.owner.run for held in holders.values()}:
        unlock(fleet, run)
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


def _pruned(fleet: Fleet, chosen: Sequence[History]) -> list[str]:
    """Return the releases that undoing *chosen* would publish, and that are not on their host."""
    listed = fleet.each(lambda session: session.names(session.layout.releases))
    wanted = {
        (host, str(plan.before))
        for run in chosen
        for stages in [run.stages()]
        for (name, host), plan in run.plans().items()
        if getattr(stages[name], "publishes", False) and getattr(plan, "before", "")
    }
    return sorted(f"{name} on {host}" for host, name in wanted if name not in listed.get(host, []))


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
