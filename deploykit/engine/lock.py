"""The environment's lock: on every host or on none, with its owner inside."""

from __future__ import annotations

import getpass
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet, attempt_each
from deploykit.engine.outcome import LockOwner
from deploykit.engine.scene import read_history
from deploykit.engine.session import Answer, Session, sealed
from deploykit.errors import DeploykitError, LockHeld, TransportError
from deploykit.shell import fill
from deploykit.transport.base import Held

__all__ = ["Holder", "held", "holder", "let_go", "release", "take", "whoami"]

BEAT = 5.0  # seconds between two heartbeats
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
    def new(self) -> bool:
        """Return whether it was taken a moment ago, by a controller that is about to connect."""
        return self.starting and self.idle < FRESH

    @property
    def alive(self) -> bool:
        """Return whether a controller is at work, as far as the host can tell."""
        return self.connected and self.idle < FRESH


def whoami() -> str:
    """Return `user@machine` of the operator."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def take(fleet: Fleet, run: str, reason: str) -> int:
    """
    Take the lock on every host in name order, or on none. A lock of the same run is taken over.

    Returns:
        The epoch: this controller's commands carry it, and older ones are refused from now on.

    Raises:
        LockHeld: somebody else has it.
    """
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    owner = sealed(json.dumps(asdict(LockOwner(run, whoami(), reason, at))) + "\n")
    epochs: dict[str, int] = {}
    taken: list[Session] = []
    try:
        for name in sorted(fleet.sessions):
            session = fleet.sessions[name]
            answer = _lock(fleet, session, run, 0, owner)
            epochs[name] = int(answer[1])
            if answer[2:] == ("new",):  # what an unfinished run holds is not ours to free
                taken.append(session)
        highest = max(epochs.values())
        for name in [name for name, epoch in epochs.items() if epoch < highest]:
            # It was left out of some runs; one epoch for all hosts puts runs in one order.
            _lock(fleet, fleet.sessions[name], run, highest, owner)
    except DeploykitError:
        attempt_each({s.name: partial(s.call, "unlock", run) for s in taken})
        raise
    return highest


def _lock(fleet: Fleet, session: Session, run: str, least: int, owner: bytes) -> Answer:
    answer, _ = session.call("lock", run, str(least), stdin=owner)
    if answer.word == "held":
        raise _held(fleet.environment.name, session)
    if answer.word != "locked":
        raise TransportError(f"{session.name}: the lock cannot be taken: {' '.join(answer)}")
    return answer


def release(fleet: Fleet, run: str) -> None:
    """Free the lock on every host, if *run* holds it there."""
    fleet.each(lambda session: session.call("unlock", run))


def let_go(fleet: Fleet, run: str, events: Events) -> None:
    """
    Free the lock of *run* unless something is left for a resume or rollback.

    How the run ended is decided by then: a link that is lost here must not say otherwise.
    """
    try:
        if not read_history(fleet, run).must_stay_locked:
            release(fleet, run)
    except DeploykitError as error:
        name = fleet.environment.name
        events.tell("lock_not_freed", error=error.what, then=f"deploykit resume {name}")


def holder(session: Session) -> Holder | None:
    """Return who holds the lock on a host, or None; also where deploykit never was."""
    found = session.query(fill(_HOLDER, session.layout.private)).output
    if not found:
        return None
    run, owner, idle, here = found.split("\0")[:4]
    known = json.loads(owner or "{}")
    return Holder(
        LockOwner(run, known.get("by", ""), known.get("reason", ""), known.get("at", "")),
        float(idle),
        here == "connected",
        here == "starting",
    )


# A query, not a call of the runner: looking must change nothing, and the runner on the host may be
# that of another version.
_HOLDER = """
cd -- {}/lock 2>/dev/null || exit 0
run=$(cat run) || exit 0
beat=$(stat -c %Y heartbeat) || beat=0
here=gone
[ -e alive ] || here=starting
if [ -e alive ] && ! flock -s -n alive true; then here=connected; fi
printf '%s\\0%s\\0%s\\0%s\\0' "$run" "$(cat owner.json)" "$(($(date +%s) - beat))" "$here"
"""


@contextmanager
def held(fleet: Fleet, run: str, events: Events) -> Iterator[None]:
    """Show every host, while this lasts, that the controller of *run* is there."""
    stop = threading.Event()
    stands: list[Held] = []
    try:
        stands.extend(
            session.transport.hold(session.runner_command("hold", run))
            for session in fleet.sessions.values()
        )
    except DeploykitError:
        for stand in stands:
            stand.close()
        let_go(fleet, run, events)
        raise
    beating = threading.Thread(target=_beat, args=(stands, stop), name="heartbeat", daemon=True)
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join()
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


def _beat(stands: list[Held], stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        for stand in stands:
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
