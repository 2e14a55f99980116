"""
The pytest fixtures of the test bed; `tests/conftest.py` registers them.

A test that asks for none of them runs as if they did not exist, but for its HOME.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import pytest

from tests.farm import wheels
from tests.farm.farm import Farm
from tests.farm.shell import FarmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from tests.farm.host import Host


class Hosts(Protocol):
    """Give *count* hosts, the same ones whenever the same is asked for in the same scope."""

    def __call__(self, count: int = 1, *, disk: str | None = None) -> list[Host]:
        """Boot as many hosts as are still missing and return them all."""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """
    Give each test an empty HOME, so that nobody's own files and keys are read or written.

    The path is short, because ssh puts sockets below it. OpenSSH itself does not look at HOME:
    give it `-F host.ssh_config`.
    """
    path = Path(tempfile.mkdtemp(prefix="dk-"))
    monkeypatch.setenv("HOME", str(path))
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(path / f".{name.lower()}"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path / ".run"))
    (path / ".run").mkdir(mode=0o700)
    for name in list(os.environ):
        ours = name.startswith("DEPLOYKIT_") and name != "DEPLOYKIT_TESTBED"
        if ours or name in ("SSH_AUTH_SOCK", "SSH_AGENT_PID"):
            monkeypatch.delenv(name)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    """
    Bring the test bed up, and move this process into its network for the rest of the session.

    From then on there is no internet, and 127.0.0.1 is another one than before.
    """
    bed = Farm()
    try:
        bed.up()
    except FarmError as error:
        pytest.fail(str(error), pytrace=False)
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    bed.enter()
    yield bed
    bed.down()
    for number, handler in before.items():
        signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """End the session in order, so that the test bed is taken down."""
    pytest.exit(f"ended by {signal.Signals(number).name}", returncode=128 + number)


@pytest.fixture(scope="session")
def wheelhouse(farm: Farm) -> Callable[..., Path]:
    """Return a function from requirements to a directory with their wheels."""

    def get(*requirements: str) -> Path:
        if farm.outside is None:
            raise FarmError("the farm is down")
        return wheels.wheelhouse(*requirements, outside=farm.outside)

    return get


class _Pool:
    """Hosts of one scope, by the size of their disk."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._hosts: dict[str | None, list[Host]] = {}

    def __call__(self, count: int = 1, *, disk: str | None = None) -> list[Host]:
        hosts = self._hosts.setdefault(disk, [])
        if len(hosts) < count:
            hosts += self._farm.boot(count - len(hosts), disk=disk)
        return hosts[:count]

    def all(self) -> list[Host]:
        return [host for hosts in self._hosts.values() for host in hosts]


@pytest.fixture(scope="module")
def module_hosts(farm: Farm) -> Iterator[Hosts]:
    """Return a function that gives hosts which all tests of the module share."""
    pool = _Pool(farm)
    yield pool
    farm.remove(pool.all())


@pytest.fixture
def hosts(module_hosts: Hosts) -> Iterator[Hosts]:
    """Return what `module_hosts` returns, and undo the troubles a test has left behind."""
    given: dict[str, Host] = {}

    def get(count: int = 1, *, disk: str | None = None) -> list[Host]:
        found = module_hosts(count, disk=disk)
        given.update({host.name: host for host in found})
        return found

    yield get
    for host in given.values():
        host.recover()


@pytest.fixture
def host(hosts: Hosts) -> Host:
    """Return a host that the tests of the module share."""
    return hosts(1)[0]


@pytest.fixture
def fresh_hosts(farm: Farm) -> Iterator[Hosts]:
    """Return a function that gives hosts which no other test has used or will use."""
    pool = _Pool(farm)
    yield pool
    farm.remove(pool.all())


@pytest.fixture
def fresh_host(fresh_hosts: Hosts) -> Host:
    """Return a host that no other test has used or will use."""
    return fresh_hosts(1)[0]
