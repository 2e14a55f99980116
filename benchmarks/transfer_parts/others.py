"""Fabric, pyinfra and Ansible, each bringing a tree to the host in the way its users do."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.parts import peers
from benchmarks.parts.peers import Command, Login
from tests.farm.network import Outside

__all__ = ["OTHERS", "Dropped", "install", "send", "versions"]

WANTED = ("ansible", "fabric", "pyinfra")  # not ansible-core, which has no `synchronize`
FABRIC = """
import json
import shlex
import sys
from pathlib import Path

from fabric import Connection

to, source, new = json.loads(sys.argv[1])
files = [path.relative_to(source) for path in sorted(Path(source).rglob("*")) if path.is_file()]
folders = shlex.join(sorted({str(path.parent) for path in files}))
with Connection(**to) as connection:
    connection.run(f"mkdir -p {new} && cd {new} && mkdir -p {folders}")
    for path in files:
        connection.put(f"{source}/{path}", f"{new}/{path}")
"""


class Dropped(Exception):
    """It takes too long to be waited for."""


@dataclass(frozen=True)
class Order:
    """What is to be done: a tree *source* here is to be *new* there."""

    source: Path
    new: str


def install(outside: Outside) -> Path:
    """Return the folder of their programs; they are installed from PyPI if need be."""
    return peers.install("transfer-peers", WANTED, outside)


def versions(programs: Path) -> dict[str, str]:
    """Return the version of each."""
    return dict(zip(WANTED, peers.versions(programs, WANTED), strict=True))


def send(name: str, login: Login, source: Path, new: str, within: float) -> float:
    """
    Return the seconds that *name* takes to make *new* the same as *source*.

    Args:
        name: one of `OTHERS`.
        login: of the host.
        source: a folder here.
        new: a folder there, which may be there already.
        within: seconds.

    Raises:
        Dropped: it was not done by then.
    """
    login.folder.mkdir(parents=True, exist_ok=True)
    command = OTHERS[name](login, Order(source, new))
    began = time.monotonic()
    try:
        done = command.run(within)
    except subprocess.TimeoutExpired:
        raise Dropped(f"not done in {within:g} s") from None
    took = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
    _count(name, login, source, new)
    return took


def _count(name: str, login: Login, source: Path, new: str) -> None:
    here = sum(path.is_file() for path in source.rglob("*"))
    there = int(login.host.root(f"find {new} -type f | wc -l").stdout)
    if here != there:
        raise SystemExit(f"{name} has brought {there} of {here} files")


def _fabric(login: Login, order: Order) -> Command:
    to = {
        "host": "127.0.0.1",
        "user": "deploy",
        "port": login.port,
        "connect_kwargs": {"key_filename": str(login.host.identity), "look_for_keys": False},
    }
    wanted = json.dumps([to, str(order.source), order.new])
    words = [str(login.programs / "python"), "-c", FABRIC, wanted]
    return Command(words, peers.environment(login), login.folder)


def _pyinfra(login: Login, order: Order) -> Command:
    words = f"src={str(order.source)!r}, dest={order.new!r}"
    return peers.pyinfra(login, ["from pyinfra.operations import files", f"files.sync({words})"])


def _copy(login: Login, order: Order) -> Command:
    words = {"src": f"{order.source}/", "dest": f"{order.new}/", "mode": "preserve"}
    return peers.ansible(login, [{"copy": words}])


def _synchronize(login: Login, order: Order) -> Command:
    words = {"src": f"{order.source}/", "dest": f"{order.new}/", "use_ssh_args": True}
    return peers.ansible(login, [{"ansible.posix.synchronize": words}])


OTHERS: dict[str, Callable[[Login, Order], Command]] = {
    "Fabric put": _fabric,
    "pyinfra files.sync": _pyinfra,
    "Ansible copy": _copy,
    "Ansible synchronize": _synchronize,
}
