"""
Controllers of which many are at work at once, each a process that a test can watch and stop.

`python -m tests.faults.crew` reads one `Order` a line and forks a controller for it. Everything
that a controller is told of, and every effect that it has, is a line of its log at once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.farm import eventually
from tests.faults import zygote
from tests.faults.killing import Effects, Kill, wrap

__all__ = ["TIMES", "Controller", "Crew", "Ended", "Order"]

Verb = Literal["run", "resume", "rollback"]
TIMES = {
    "deploykit.transport.ssh.limits:CONNECT_TIMEOUT": 3.0,
    "deploykit.transport.ssh.limits:DEAD_AFTER": 4.0,
    "deploykit.transport.retrying:RECONNECT_FOR": 8.0,
    "deploykit.engine.lock:BEAT": 0.5,
    "deploykit.engine.lock:FRESH": 4.0,
}
"""Waits of deploykit, by module and name, as short as a test can bear."""

POLL = 0.005
HUNG = 240.0  # seconds after which a controller is given up


@dataclass(frozen=True)
class Order:
    """
    What a controller is to do.

    Args:
        verb: as on the command line.
        made_by: `module:function` that makes the environment.
        words: its arguments.
        home: the operator's home, with his local state.
        log: where the controller writes what happens; `.err` and `.go` are files beside it.
        takeover: do so even though the controller of the run seems to be at work.
        again: run content that was rejected before.
        release: what to roll back to.
        times: seconds by module and name, as `TIMES` has them.
        ahead: seconds that its clock is ahead.
        waits_at: the event (`name` or `name stage`) at which it waits until it may go on.
        counts_from: the event from which on effects are counted for `stops_at`; the start if empty.
        stops_at: the effect before which it stops like a machine that is put to sleep; 0 for none.
    """

    verb: Verb
    made_by: str
    words: dict[str, Any]
    home: str
    log: str
    takeover: bool = False
    again: bool = True
    release: str | None = None
    times: dict[str, float] = field(default_factory=lambda: dict(TIMES))
    ahead: float = 0.0
    waits_at: str = ""
    counts_from: str = ""
    stops_at: int = 0


@dataclass(frozen=True)
class Ended:
    """
    How a controller ended.

    Args:
        code: its exit code as `deploykit` would give it; None if it was killed.
        state: of its run; empty if there was nothing to do.
        run: the run's id.
        release: the release that is published.
        error: all that it said.
        kind: the error's class.
        seconds: how long it lived.
    """

    code: int | None
    state: str
    run: str
    release: str
    error: str
    kind: str
    seconds: float

    def __str__(self) -> str:
        said = " ".join(self.error.split())
        return f"{self.code} {self.state} {self.kind} {said} ({self.seconds:.1f} s)"


class Controller:
    """
    A controller at work, or one that was.

    Args:
        order: what it does.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.began = time.monotonic()
        self.pid = 0
        self.status: int | None = None
        self.seconds = 0.0
        self._known = threading.Event()

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has written so far."""
        path = Path(self.order.log)
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1:] == "\n"]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events called *name* so far."""
        return [line for line in self.lines() if line.get("event") == name]

    @property
    def has_ended(self) -> bool:
        """Return whether it is no more."""
        return self.status is not None

    @property
    def waits(self) -> bool:
        """Return whether it waits until it may go on."""
        return any("waits" in line for line in self.lines())

    @property
    def stands(self) -> bool:
        """Return whether it is stopped."""
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{self.pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] == "T"
        return False

    def go(self) -> None:
        """Let it go on from where it waits."""
        Path(f"{self.order.log}.go").touch()

    def freeze(self) -> None:
        """Stop it where it is."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was stopped."""
        self._signal(signal.SIGCONT)

    def interrupt(self) -> None:
        """Ask it to stop, as `kill` does."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word of farewell."""
        self._signal(signal.SIGKILL)

    def wait(self, within: float) -> Ended:
        """
        Return how it ended.

        Raises:
            TimeoutError: it has not ended *within* seconds.
        """
        eventually(lambda: self.has_ended, within=within, message=f"the end of {self}")
        return self.ended()

    def ended(self) -> Ended:
        """Return how it ended, once it has."""
        said: dict[str, Any] = next((line for line in self.lines() if "code" in line), {})
        if not said and self.status != -signal.SIGKILL:
            said = {"code": -1, "error": f"it ended with status {self.status}", "kind": "?"}
        return Ended(
            code=said.get("code"),
            state=said.get("state", ""),
            run=said.get("run", ""),
            release=said.get("release", ""),
            error=said.get("error", ""),
            kind=said.get("kind", ""),
            seconds=self.seconds,
        )

    def __str__(self) -> str:
        return f"{self.order.verb} {Path(self.order.log).name}"

    def _signal(self, number: signal.Signals) -> None:
        if not self.has_ended:  # its id is not another's: the zygote has not waited for it
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Crew:
    """The process that controllers are forked from, and those that are at work."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.crew"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._crew: list[Controller] = []
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="crew", daemon=True)
        self._reader.start()

    def start(self, order: Order) -> Controller:
        """Have a controller begin."""
        log = Path(order.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        for path in (log, Path(f"{log}.go")):
            path.unlink(missing_ok=True)
        controller = Controller(order)
        with self._lock:
            words = {"number": len(self._crew), "order": asdict(order)}
            self._crew.append(controller)
            assert self._process.stdin
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
        assert controller._known.wait(60), "the zygote does not answer"
        return controller

    def close(self) -> None:
        """End everything."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            words = json.loads(line)
            controller = self._crew[words["number"]]
            if "pid" in words:
                controller.pid = words["pid"]
                controller.began = time.monotonic()
                controller._known.set()
            else:
                controller.seconds = time.monotonic() - controller.began
                controller.status = words["status"]


class Stops(Effects):
    """
    The effects of a controller, which stops itself before one of them.

    Args:
        order: says before which.
    """

    def __init__(self, order: Order) -> None:
        super().__init__(Path(order.log), Kill())
        self._order = order
        self._left = order.stops_at
        self._counting = not order.counts_from

    def told(self, event: dict[str, Any]) -> None:
        """Note an event, and wait there if that is what the order says."""
        told = {key: value for key, value in event.items() if isinstance(value, str | int)}
        self.note(**{**told, "at": round(time.monotonic(), 3)})
        names = (event["event"], f"{event['event']} {event.get('stage', '')}")
        self._counting = self._counting or self._order.counts_from in names
        if self._order.waits_at in names:
            self.note(waits=True)
            go = Path(f"{self._order.log}.go")
            while not go.exists():
                time.sleep(POLL)

    def reached(self, name: str, sort: str) -> bool:
        """Note an effect that is about to be had; stop before it if it is the one."""
        super().reached(name, sort)
        with self._lock:
            self._left -= self._counting
            stops = self._counting and self._left == 0
        if stops:
            self.note(stops=name)
            os.kill(os.getpid(), signal.SIGSTOP)
        return False


def serve() -> None:
    """Fork a controller for each line of standard input, until that ends."""
    zygote._import_everything()
    at_work: dict[int, int] = {}
    rest = b""
    while True:
        if select.select([0], [], [], POLL)[0]:
            piece = os.read(0, 1 << 16)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                words = json.loads(line)
                child = os.fork()
                if child == 0:
                    _controller(Order(**words["order"]))
                at_work[child] = words["number"]
                _answer(number=words["number"], pid=child)
        for child in list(at_work):
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                _answer(number=at_work.pop(child), status=os.waitstatus_to_exitcode(status))
    for child in at_work:
        os.kill(child, signal.SIGKILL)


def _answer(**words: int) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def _controller(order: Order) -> None:
    """Do *order*, note how it ended, and end this process without any tidying up."""
    effects = Stops(order)
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(f"{order.log}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, fd in ((0, null), (1, errors), (2, errors)):
        os.dup2(fd, number)
    os.environ.update(HOME=order.home, XDG_STATE_HOME=f"{order.home}/state")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, HUNG)
    try:
        _set(order)
        effects.note(**_done(order, effects))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is how the controller ended
        traceback.print_exc()
        code = getattr(error, "exit_code", -1)
        effects.note(code=code, error=str(error), kind=type(error).__name__)
    os._exit(0)


def _set(order: Order) -> None:
    """Set the clock and the times of this process."""
    for place, seconds in order.times.items():
        module, name = place.split(":")
        found = importlib.import_module(module)
        assert hasattr(found, name), place
        setattr(found, name, seconds)
    if order.ahead:
        _shift(order.ahead)


def _shift(seconds: float) -> None:
    """Put this process's wall clock ahead; the monotonic one is as it was."""
    import datetime as dt

    real = time.time

    class Ahead(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Ahead:
            return cls.fromtimestamp(real() + seconds, tz)

    time.time = lambda: real() + seconds
    for name, module in list(sys.modules.items()):
        if name.startswith("deploykit") and vars(module).get("datetime") is dt.datetime:
            vars(module)["datetime"] = Ahead


def _done(order: Order, effects: Stops) -> dict[str, Any]:
    """Do *order* as the command line would."""
    from deploykit.engine import api, fleet

    connect = fleet._connect
    fleet._connect = lambda host: wrap(connect(host), effects)
    module, function = order.made_by.split(":")
    environment = getattr(importlib.import_module(module), function)(**order.words)
    listeners = [lambda event: effects.told(dict(event))]
    if order.verb == "run":
        result = api.run(environment, again=order.again, listeners=listeners)
    elif order.verb == "rollback":
        result = api.rollback(
            environment, order.release, takeover=order.takeover, listeners=listeners
        )
    else:
        found = api.resume(environment, takeover=order.takeover, listeners=listeners)
        if found is None:
            return {"code": 0}
        result = found
    return zygote.answer(result)


if __name__ == "__main__":
    serve()
