"""
A controller whose every call to a host is numbered, and what can befall it at one of them.

Parallel work on hosts is done here one host after the other, so that the same faults always hit the
same calls. Nothing is lost by that: hosts know nothing of each other, and a controller that dies
has got on each of them as far as `Fault.grace` says.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from unittest.mock import patch

from tenacity import wait_fixed

from deploykit.engine import fleet, lock
from deploykit.errors import ConnectFailed, LinkLost
from deploykit.hosts import Host
from deploykit.shell import quote
from deploykit.transport import retrying
from deploykit.transport.base import Completed, Held, Transport
from deploykit.transport.local import LocalTransport
from tests.engine.machine.files import WorldFiles
from tests.engine.machine.hosts import Farm, Machine

__all__ = ["Controller", "Died", "Fault", "World", "world"]

T = TypeVar("T")
What = Literal["kill", "cut", "power", "signal", "other"]
When = Literal["before", "after", "ready", "early", "late"]

COMMAND = re.compile(r" exec \S+ \S+ \d+$")  # the line that has the runner start one
A_MOMENT = 0.3  # seconds after which a call is cut that is to be cut in its middle
SHORT = (
    *(".owner.*", "unlocked"),
    "runs/*/output/*.stop",
    "runs/*/[0-9a-f]*.part",
)
# What stands in for the guardian's `sleep`, once it is to fire.
NO_SLEEP = "#!/bin/sh\nexec /bin/sleep 0.01\n"


class Died(BaseException):
    """The end of the controller; every call of it raises this from then on."""


@dataclass(frozen=True)
class Fault:
    """
    What befalls a controller at one of its calls.

    Args:
        what: it is killed; the link to the host is cut; the host's power is cut; it is told to
            stop by a signal; or another controller comes and does its work meanwhile.
        at: the number of the call.
        when: before the call reached the host, or after it was done there; or where the first
            command or file from there on is ready to begin, or under way, early or late in it.
        deaf: how many calls to the host fail after one that was cut.
        grace: how many calls the work on the other hosts of the stage has done when it is killed.
    """

    what: What
    at: int
    when: When = "before"
    deaf: int = 0
    grace: tuple[int, ...] = ()


@dataclass
class Controller:
    """
    One process that works on hosts.

    Args:
        world: the hosts.
        faults: what befalls it.
        other: what another controller does, where a fault says that it comes.
    """

    world: World
    faults: Sequence[Fault] = ()
    other: Callable[[], object] | None = None
    calls: int = field(default=0, init=False)
    struck: list[Fault] = field(default_factory=list, init=False)
    is_dead: bool = field(default=False, init=False)
    allowed: int = field(default=0, init=False)
    _was_told: bool = field(default=False, init=False)
    _deaf: dict[str, int] = field(default_factory=dict, init=False)
    _stands: dict[str, list[Held]] = field(default_factory=dict, init=False)

    def call(
        self, machine: Machine, act: Callable[[float | None], T], *, is_long: bool = False
    ) -> T:
        """
        Do *act*, a call to *machine*, unless something befalls it.

        Args:
            machine: the host.
            act: is given seconds after which it is to raise `TimeoutError`, if any.
            is_long: it can be met while it is under way.
        """
        self._check_alive()
        at, self.calls = self.calls, self.calls + 1
        if self._deaf.get(machine.name, 0) > 0:
            self._deaf[machine.name] -= 1
            raise LinkLost(f"{machine.name} is not heard")
        fault = self._fault(at, is_long)
        if fault is None:
            return self._do(machine, act)
        self.struck.append(fault)
        if fault.when in ("before", "ready"):
            self._strike(machine, fault)
            return self._do(machine, act)
        try:
            if fault.when == "after":
                result = self._do(machine, act)
            else:
                with self.world.waiting(machine, fault.when):
                    result = self._do(machine, act, A_MOMENT)
        except TimeoutError:
            self._strike(machine, fault)
            return self._do(machine, act)
        self._strike(machine, fault)
        return result

    def hold(self, machine: Machine, start: Callable[[], Held]) -> Held:
        """Keep what *start* gives until it is closed, or until the link or the controller ends."""

        def act(_within: float | None) -> Held:
            stand = start()
            self._stands.setdefault(machine.name, []).append(stand)
            return stand

        return self.call(machine, act)

    def die(self) -> None:
        """Leave the hosts as the end of a process does: nothing is said, connections end."""
        self.is_dead = True
        for name in self._stands:
            self._hang_up(name)
        raise Died

    def _hang_up(self, name: str) -> None:
        for stand in self._stands.get(name, ()):
            stand.close()

    def _fault(self, at: int, is_long: bool) -> Fault | None:
        for fault in self.faults:
            if fault.when in ("before", "after"):
                if fault.at == at:
                    return fault
            elif is_long and fault.at <= at and fault not in self.struck:
                return fault
        return None

    def _check_alive(self) -> None:
        if not self.is_dead:
            return
        if self.allowed <= 0:
            raise Died
        self.allowed -= 1

    def _do(
        self, machine: Machine, act: Callable[[float | None], T], within: float | None = None
    ) -> T:
        done = act(within)
        died = self.world.common / f"died.{machine.name}"
        if died.exists():  # by a command of its own
            machine.cut_power()
            died.unlink()
            raise LinkLost(f"{machine.name} has lost its power")
        return done

    def _strike(self, machine: Machine, fault: Fault) -> None:
        if fault.what == "kill":
            self.die()
        if fault.what == "power":
            machine.cut_power()
            self.world.tear(machine)
        if fault.what in ("cut", "power"):
            self._hang_up(machine.name)
            self._deaf[machine.name] = fault.deaf
            raise LinkLost(f"the link to {machine.name} is cut")
        if fault.what == "signal" and not self._was_told:
            self._was_told = True  # a second one would end this very process
            signal.raise_signal(signal.SIGTERM)
        if fault.what == "other" and self.other:
            self.other()


@dataclass
class World:
    """
    The hosts that controllers work on, at one root path.

    Args:
        farm: gives the hosts.
        root: of the pipeline.
        common: a folder that all hosts see.
    """

    farm: Farm
    root: str
    common: Path
    controllers: list[Controller] = field(default_factory=list, init=False)

    def connect(self, host: Host) -> Transport:
        """Connect the controller that is at work now to *host*."""
        machine = self.farm.machines[host.label]
        controller = self.controllers[-1]
        try:
            controller.call(machine, lambda _: None)
        except LinkLost as error:
            raise ConnectFailed(error.what) from error
        return _Transport(machine, controller)

    @contextmanager
    def controller(
        self, faults: Sequence[Fault] = (), other: Callable[[], object] | None = None
    ) -> Iterator[Controller]:
        """Give a new controller; what connects meanwhile is its."""
        made = Controller(self, faults, other)
        self.controllers.append(made)
        try:
            yield made
        finally:
            self.controllers.remove(made)

    def tear(self, machine: Machine) -> None:
        """Leave the newest journal of *machine* as the end of its power does in an append."""
        folder = machine.outside(self.root) / ".deploykit" / "runs"
        journals = sorted(folder.glob("*/journal.jsonl"), key=lambda file: file.stat().st_mtime_ns)
        for file in journals[-1:]:
            with file.open("a") as journal:
                journal.write('{"v":1,"seq":99,"at":"2026-11-04T10:15:12Z","kind":"rolled_ba')
        # Its kernel will be another one, but for here.
        (folder.parent / "scratch").write_text("99 of-another-boot\n")

    @contextmanager
    def waiting(self, machine: Machine, when: str) -> Iterator[None]:
        """Let the next command on *machine* wait in its middle, early or late in it."""
        file = self.common / f"wait.{machine.name}"
        file.write_text(f"{when}\n")
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def fire(self, name: str) -> bool:
        """Let the guardian on a host, if there is one, fire as if it had waited long enough."""
        machine = self.farm.machines[name]
        private = machine.outside(self.root) / ".deploykit"
        holder = private / "lock" / "run"
        if not holder.exists() or not any("guardian.sh" in line for line in machine.processes):
            return False
        armed = private / "runs" / holder.read_text().strip() / "guardian"
        if not armed.exists():
            return False
        sleep = self.common / "bin" / "sleep"
        sleep.parent.mkdir(exist_ok=True)
        sleep.write_text(NO_SLEEP)
        sleep.chmod(0o755)
        first, runner, path, *rest = armed.read_text().splitlines()
        _, token, does = first.split()
        # Armed anew, with no time to wait: the one that is there sees that, and ends.
        armed.with_name("guardian.new").write_text(
            "\n".join([f"0 {token}-now {does}", runner, f"{sleep.parent}:{path}", *rest, ""])
        )
        script = quote(f"{self.root}/.deploykit/bin/guardian.sh")
        line = machine.line(f"exec sh {script} {quote(self.root)}")
        subprocess.run(["sh", "-c", line], check=True, timeout=30)
        return True

    def leftovers(self, names: Iterable[str]) -> list[str]:
        """
        Return what still runs on hosts, and files there that were to live for moments.

        A guardian may need a second to see that it is over.
        """
        left = []
        for name in names:
            machine = self.farm.machines[name]
            private = machine.outside(self.root) / ".deploykit"
            lines = (line for line in machine.processes if line != "sleep 1 ")
            left += [f"{name}: {line}" for line in lines if "guardian.sh" not in line]
            left += [f"{name}: {file}" for short in SHORT for file in private.glob(short)]
        return left

    def executor(self, _workers: int) -> _OneByOne:
        """Return what stands in for a pool of threads."""
        return _OneByOne(self.controllers[-1])


@contextmanager
def world(farm: Farm) -> Iterator[World]:
    """Give a world of its own, in which no time passes between two tries."""
    with farm.ground() as (root, common):
        made = World(farm, root, common)
        with (
            patch.object(fleet, "_connect", made.connect),
            patch.object(fleet, "ThreadPoolExecutor", made.executor),
            patch.object(retrying, "WAIT", wait_fixed(0.02)),
            patch.object(retrying, "RECONNECT_FOR", 0.2),
            patch.object(lock, "BEAT", 3600.0),
            patch.dict(os.environ, XDG_STATE_HOME=str(common / "state")),
        ):
            yield made


class _OneByOne:
    """Does at once, in the caller's thread, what a pool of threads would do."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._was_alive = not controller.is_dead
        self._after = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Do *call*."""
        done: Future[T] = Future()
        if self._was_alive and self._controller.is_dead:
            self._controller.allowed = self._grace()
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001  # as a pool does
            done.set_exception(error)
        self._controller.allowed = 0
        return done

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        """Nothing is left to do."""

    def _grace(self) -> int:
        graces = [fault.grace for fault in self._controller.struck if fault.what == "kill"]
        self._after += 1
        return graces[0][self._after - 1] if graces and len(graces[0]) >= self._after else 0


class _Transport:
    """This machine's `sh`, in the namespaces of a host, by the calls of a controller."""

    def __init__(self, machine: Machine, controller: Controller) -> None:
        self._machine = machine
        self._controller = controller
        self._inner = LocalTransport()

    def execute(
        self,
        command: str,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `Transport`."""

        def act(within: float | None) -> Completed:
            line = self._machine.line(command)
            return self._inner.execute(line, stdin, timeout=within or timeout, on_output=on_output)

        return self._controller.call(self._machine, act, is_long=bool(COMMAND.search(command)))

    def feed(self, command: str, pieces: Iterable[bytes]) -> Completed:
        """See `Transport`; what is cut in its middle has sent half."""
        line, sent = self._machine.line(command), b"".join(pieces)

        def act(within: float | None) -> Completed:
            done = self._inner.feed(line, [sent if within is None else sent[: len(sent) // 2]])
            if within is not None:
                raise TimeoutError
            return done

        return self._controller.call(self._machine, act, is_long=True)

    def hold(self, command: str) -> Held:
        """See `Transport`."""
        line = self._machine.line(command)
        return self._controller.hold(self._machine, lambda: self._inner.hold(line))

    def files(self, **_options: bool) -> WorldFiles:
        """See `Transport`."""
        return WorldFiles(self._machine, self._controller)

    def close(self) -> None:
        """Nothing is open."""
