"""
The network of a farm: a hub namespace with one bridge, and one namespace for each host.

The hub has no route to anywhere else, so nothing that a test dials by mistake leaves the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

from tests.farm.shell import call

NETNS: Final = Path("/run/netns")
CLONE_NEWNET: Final = 0x40000000


class Network:
    """The namespaces of one farm; every one of them is called *name* and a dash and more."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hub = f"{name}-hub"

    def address(self, number: int) -> str:
        """Return the IP address of host *number*, which counts from 1."""
        return f"10.99.{1 + (number - 1) // 250}.{1 + (number - 1) % 250}"

    def namespace(self, host: str) -> str:
        """Return the name of the network namespace of *host*."""
        return f"{self.name}-{host}"

    def up(self) -> None:
        """Make the hub."""
        call("ip", "netns", "add", self.hub)
        self._batch(
            self.hub,
            "link set lo up",
            "link add br0 type bridge",
            "addr add 10.99.0.1/16 dev br0",
            "link set br0 up",
        )

    def attach(self, host: str, ip: str) -> None:
        """Make the namespace of *host* and plug it into the hub."""
        space = self.namespace(host)
        call("ip", "netns", "add", space)
        self._batch(
            space,
            "link set lo up",
            f"link add veth0 type veth peer name {host} netns {self.hub}",
            f"addr add {ip}/16 dev veth0",
            "link set veth0 up",
        )
        call("ip", "-n", self.hub, "link", "set", host, "master", "br0", "up")

    def detach(self, host: str) -> None:
        """Remove the namespace of *host*, and with it its cable."""
        # The hub's end goes at once this way; with the namespace alone it goes some time later.
        call("ip", "-n", self.hub, "link", "del", host, check=False)
        call("ip", "netns", "del", self.namespace(host), check=False)

    def spaces(self) -> list[str]:
        """Name the namespaces of this farm that exist."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in NETNS.iterdir() if self._mine(path.name))
        return []

    def down(self) -> None:
        """Remove every namespace of this farm."""
        for space in self.spaces():
            call("ip", "netns", "del", space, check=False)

    def _mine(self, space: str) -> bool:
        return space.startswith(f"{self.name}-")

    def _batch(self, space: str, *lines: str) -> None:
        call("ip", "-n", space, "-batch", "-", input="".join(f"{line}\n" for line in lines))


class Outside:
    """The network namespace this process was born in, kept to run commands in it later."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def fds(self) -> tuple[int]:
        """The file descriptors that a command with `prefix` before it has to inherit."""
        return (self._fd,)

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words to put before a command to run it outside of the hub."""
        return ("nsenter", f"--net=/proc/self/fd/{self._fd}")

    def enter(self) -> None:
        """Move this thread back out of the hub."""
        _setns(self._fd)


def enter(space: str) -> None:
    """
    Move this thread, and all threads and processes it starts from now on, into *space*.

    `ip netns exec` is no way to do the same for a program: it hides /sys/fs/cgroup.
    """
    fd = os.open(NETNS / space, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(fd)
    finally:
        os.close(fd)


def _setns(fd: int) -> None:
    """Do what os.setns does from Python 3.12 on."""
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")
