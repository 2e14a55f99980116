"""The environment's lock: on every host or on none, with its owner inside."""

from __future__ import annotations

import getpass
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex

from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet, attempt_each
from deploykit.engine.outcome import LockOwner
from deploykit.engine.scene import read_history
from deploykit.engine.session import Session
from deploykit.errors import DeploykitError, Fenced, LinkLost, LockHeld, TransportError
from deploykit.transport.base import Held

__all__ = ["Holder", "force", "held", "holder", "let_go", "release", "take", "take_over", "whoami"]

BEAT = 5.0  # seconds between two heartbeats
TRIES = 3  # to take a run over while guardians fire
FRESH = 15.0  # seconds after which a heartbeat no longer shows a live controller


@dataclass(frozen=True)
class Holder:
    """
    Who holds the lock on one host, and whether he is there.

    Args:
        owner: as he wrote it.
        idle: seconds since the last heartbeat.
        connected: his connection still stands.
        starting: he took it, and his connection has never stood yet.
    """

    owner: LockOwner
    idle: float
    connected: bool
    starting: bool

    @property
    def alive(self) -> bool:
        """Return whether a controller is at work, as far as the host can tell."""
        return self.connected and self.idle < FRESH

    @property
    def new(self) -> bool:
        """Return whether it was taken a moment ago, by a controller that is about to connect."""
        return self.starting and self.idle < FRESH


def whoami() -> str:
    """Return `user@machine` of the operator."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def take(fleet: Fleet, run: str, reason: str) -> int:
    """
    Take the lock for a new run, on every host in name order, or on none.

    Returns:
        The epoch: this controller's commands carry it, and older ones are refused from now on.

    Raises:
        LockHeld: somebody else has it.
    """
    owner = _owner(run, reason)
    epochs: dict[str, int] = {}
    try:
        for name in sorted(fleet.sessions):
            epochs[name] = _lock(fleet, name, run, 0, owner)
        highest = max(epochs.values())
        for name in [name for name, epoch in epochs.items() if epoch < highest]:
            # It was left out of some runs; one epoch for all hosts puts runs in one order.
            _lock(fleet, name, run, highest, owner)
    except DeploykitError:
        # Nobody else can hold it in the name of a new run; an answer may have been lost.
        tried = [s for s in fleet.sessions.values() if s.name <= name]
        attempt_each({s.name: partial(_unlock, s, run, "-") for s in tried})
        raise
    return highest


def take_over(fleet: Fleet, run: str, reason: str, seen: int | None = None) -> int:
    """
    Take the lock of *run* over from whoever acts for it, on every host.

    Of several who do so at once, one gets it: the first host, by name, decides between them.

    Args:
        fleet: the hosts.
        run: which holds the lock.
        reason: for those who find it taken.
        seen: the epoch on the first host; whoever came after it keeps the run. By default what it
            is now.

    Returns:
        The epoch, on all hosts.

    Raises:
        Fenced: somebody else was faster.
        LockHeld: the lock is another run's by now.
    """
    owner = _owner(run, reason)
    first, *others = sorted(fleet.sessions)
    for _ in range(TRIES):
        epochs = fleet.each(lambda session: session.epoch())
        seen = epochs[first] if seen is None else seen
        least = max(epochs.values()) + 1
        seen = _lock(fleet, first, run, least, owner, str(seen))
        try:
            for name in others:
                _lock(fleet, name, run, least, owner, "below")
        except Fenced as fenced:
            lost = fenced  # by a guardian, unless the first host says that it was a person
        else:
            return least
    raise lost


def _owner(run: str, reason: str) -> str:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    known = asdict(LockOwner(run, whoami(), reason, at))
    return json.dumps({**known, "token": token_hex(8)})


def _lock(fleet: Fleet, host: str, run: str, least: int, owner: str, seen: str = "-") -> int:
    session = fleet.sessions[host]
    answer = session.lock(run, least, seen, owner)
    if answer.word == "held":
        raise _held(fleet.environment.name, session)
    if answer.word != "locked":
        raise TransportError(f"{session.name}: the lock cannot be taken: {' '.join(answer)}")
    return int(answer[1])


def _unlock(session: Session, run: str, epoch: str) -> None:
    answer = session.unlock(run, epoch)
    if answer.word not in ("unlocked", "notmine"):
        raise TransportError(f"{session.name}: the lock cannot be freed: {' '.join(answer)}")


def release(fleet: Fleet, run: str, epoch: int) -> None:
    """
    Free the lock on every host, if *run* holds it there.

    Raises:
        Fenced: it has been taken over since *epoch*.
    """
    fleet.each(lambda session: _unlock(session, run, str(epoch)))


def force(fleet: Fleet, run: str) -> None:
    """Free the lock on every host, if *run* holds it there, whoever its controller is."""
    fleet.each(lambda session: _unlock(session, run, "-"))


def let_go(fleet: Fleet, run: str, epoch: int, events: Events) -> None:
    """
    Free the lock of *run* unless something is left for a resume or rollback.

    How the run ended is decided by then: a link that is lost here must not say otherwise.
    """
    try:
        if not read_history(fleet, run).must_stay_locked:
            release(fleet, run, epoch)
    except Fenced:
        pass  # it is no longer ours to free
    except DeploykitError as error:
        name = fleet.environment.name
        events.tell("lock_not_freed", error=error.what, then=f"deploykit resume {name}")


def holder(session: Session) -> Holder | None:
    """Return who holds the lock on a host, or None; also where deploykit never was."""
    found = session.holding()
    if found is None:
        return None
    known = json.loads(found.owner or "{}")
    return Holder(
        LockOwner(found.run, known.get("by", ""), known.get("reason", ""), known.get("at", "")),
        found.idle,
        found.here == "connected",
        found.here == "starting",
    )


@contextmanager
def held(fleet: Fleet, run: str, epoch: int, events: Events) -> Iterator[None]:
    """Show every host, while this lasts, that the controller of *run* is there."""
    stop = threading.Event()
    # Often enough for the guardians, however short they are to wait.
    pause = min(BEAT, fleet.environment.pipeline.confirm_within / 3)
    stands: list[Held] = []
    try:
        stands.extend(session.stand(run, epoch) for session in fleet.sessions.values())
    except DeploykitError:
        for stand in stands:
            stand.close()
        let_go(fleet, run, epoch, events)
        raise
    # One thread a host: a host that takes nothing must not keep the others from hearing of us.
    beating = [
        threading.Thread(target=_beat, args=(stand, pause, stop), name="heartbeat", daemon=True)
        for stand in stands
    ]
    for thread in beating:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for stand in stands:
            stand.close()


def wait_for(take_it: Callable[[], int], seconds: float, events: Events) -> int:
    """
    Call *take_it* until the lock is free, for at most *seconds*.

    Raises:
        LockHeld: it was held to the end.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return take_it()
        except LockHeld as error:
            if time.monotonic() >= end:
                raise
            events.tell("lock_waiting", reason=error.what)
            time.sleep(min(2.0, max(0.0, end - time.monotonic())))


def _beat(stand: Held, pause: float, stop: threading.Event) -> None:
    while not stop.wait(pause):
        with suppress(LinkLost):  # it is made anew at the next beat, and commands say what is lost
            stand.beat()


def _held(environment: str, session: Session) -> LockHeld:
    found = holder(session)
    if found is None:
        return LockHeld(f"{environment} was locked until a moment ago", then="try again")
    owner = found.owner
    return LockHeld(
        f"{environment} is locked on {session.name} by {owner.by} since {owner.at}: {owner.reason}",
        state="nothing was touched",
        then=f"wait for it (--lock-wait SECONDS), or look: deploykit lock status {environment}",
    )
