"""
Controllers that start at once: each a fresh process, forked from one that has imported everything.

`python -m tests.faults.zygote` reads one `Order` a line and forks a controller for it, which does
what `deploykit` would do; when that has ended, however it did, a line is answered.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.killing import Effects, Kill, wrap

if TYPE_CHECKING:
    from deploykit.engine.outcome import RunResult

__all__ = ["Ended", "Order", "Zygote", "answer"]

HUNG = 150.0  # seconds after which a controller is given up


@dataclass(frozen=True)
class Order:
    """
    What a controller is to do.

    Args:
        verb: `run`, `resume` or `rollback`.
        target: words of the `Host`.
        project: the folder with the source.
        state: the operator's local state.
        log: where its effects are noted, and how it ended.
        kill: when it is to be killed.
        release: what to roll back to.
    """

    verb: str
    target: dict[str, str]
    project: str
    state: str
    log: str
    kill: Kill
    release: str | None = None


@dataclass(frozen=True)
class Ended:
    """
    How a controller ended.

    Args:
        seconds: how long it lived.
        code: its exit code as `deploykit` would give it; None if it was killed.
        state: of its run; empty if there was nothing to do.
        run: the run's id.
        release: the release that is published.
        error: what it said.
        kind: the error's class.
        effects: the names of its effects, in order.
        hit: the effect at which it was killed; empty if it was not.
        back_from: how many effects it had had when it turned back; None if it did not.
    """

    seconds: float
    code: int | None
    state: str
    run: str
    release: str
    error: str
    kind: str
    effects: tuple[tuple[str, str], ...]
    hit: str
    back_from: int | None


class Zygote:
    """The process that controllers are forked from; one at a time."""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, order: Order) -> Ended:
        """Have a controller do *order*, and wait for its end."""
        assert self._process.stdin
        assert self._process.stdout
        Path(order.log).unlink(missing_ok=True)
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return _ended(Path(order.log), float(answer["seconds"]), int(answer["status"]))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _ended(log: Path, seconds: float, status: int) -> Ended:
    """Read what a controller wrote before it ended."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    effects = tuple((line["name"], line["sort"]) for line in lines if "effect" in line)
    killed = any("killed" in line for line in lines)
    turned = next((at for at, line in enumerate(lines) if "turned_back" in line), None)
    before = None if turned is None else sum("effect" in line for line in lines[:turned])
    said: dict[str, Any] = next((line for line in lines if "code" in line), {})
    number = next((line["killed"] for line in lines if "killed" in line), 0)
    if not said and not killed:
        said = {"code": -1, "error": f"it ended with status {status}", "kind": "hung"}
    return Ended(
        seconds=seconds,
        code=said.get("code"),
        state=said.get("state", ""),
        run=said.get("run", ""),
        release=said.get("release", ""),
        error=said.get("error", ""),
        kind=said.get("kind", ""),
        effects=effects,
        hit=effects[number - 1][0] if number else "",
        back_from=before,
    )


def serve() -> None:
    """Fork a controller for each line of standard input."""
    _import_everything()
    for line in sys.stdin:
        words = json.loads(line)
        order = Order(**{**words, "kill": Kill(**words["kill"])})
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _controller(order)
        status = _wait(child, began + HUNG)
        answer = {"seconds": time.monotonic() - began, "status": status}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _wait(child: int, deadline: float) -> int:
    """Return the status of *child*, which is killed if it does not end."""
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.005)


def _controller(order: Order) -> None:
    """Do *order*, note how it ended, and end this process without any tidying up."""
    effects = Effects(Path(order.log), order.kill)
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(f"{order.log}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, fd in ((0, null), (1, errors), (2, errors)):
        os.dup2(fd, number)
    faulthandler.dump_traceback_later(HUNG - 10)
    os.environ.update(HOME=order.state, XDG_STATE_HOME=f"{order.state}/state")
    try:
        effects.note(**_done(order, effects))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is how the controller ended
        traceback.print_exc()
        code = getattr(error, "exit_code", -1)
        effects.note(code=code, error=str(error), kind=type(error).__name__)
    os._exit(0)


def _done(order: Order, effects: Effects) -> dict[str, Any]:
    """Do *order* as the command line would."""
    from deploykit.engine import api, fleet
    from tests.faults.site import environment

    connect = fleet._connect
    fleet._connect = lambda host: wrap(connect(host), effects)

    def listen(event: Any) -> None:
        if event["event"] == "rollback_started":
            effects.note(turned_back=True)

    shop = environment(order.target, Path(order.project))
    listeners = [listen]
    if order.verb == "run":
        result = api.run(shop, again=True, listeners=listeners)
    elif order.verb == "rollback":
        result = api.rollback(shop, order.release, listeners=listeners)
    else:
        found = api.resume(shop, listeners=listeners)
        if found is None:
            return {"code": 0}
        result = found
    return answer(result)


def answer(result: RunResult) -> dict[str, Any]:
    """Return what a controller reports of how its verb ended."""
    return {
        "code": result.exit_code,
        "state": result.state,
        "run": result.run,
        "release": result.release,
        "error": str(result.error or ""),
        "kind": type(result.error).__name__ if result.error else "",
    }


def _import_everything() -> None:
    """Import what a controller imports where it is used, so that forks need not."""
    import alembic.config
    import alembic.script  # noqa: F401
    import httpx  # noqa: F401
    import tenacity  # noqa: F401

    import deploykit.transport.ssh  # noqa: F401
    from deploykit.engine import api  # noqa: F401
    from deploykit.services import proving
    from tests.faults import site  # noqa: F401

    proving.SETTLE = 0.1  # a service here does not die of old age, and a case has four proofs


if __name__ == "__main__":
    serve()
