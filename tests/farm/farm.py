"""All hosts of one test run, from the first boot to the last trace removed."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from tests.farm import network
from tests.farm.base import base_tree, cache, locked
from tests.farm.cgroup import Group
from tests.farm.host import Host
from tests.farm.machine import mounts_below, remove_files
from tests.farm.shell import FarmError, call, missing_packages

if TYPE_CHECKING:
    from collections.abc import Iterable

INOTIFY: Final = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH: Final = 8192
PROPAGATE: Final = Path("/run/systemd/nspawn/propagate")


class Farm:
    """Hosts on a network of their own; *name* is in the name of everything the farm makes."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"dk{os.getpid()}"
        self.network = network.Network(self.name)
        self.where = cache() / "farms" / self.name
        self.outside: network.Outside | None = None
        self._owner = os.getpid()
        self._lock: IO[str] | None = None
        self._booted = 0
        self._hosts: dict[str, Host] = {}

    @property
    def hosts(self) -> list[Host]:
        """The hosts there are now."""
        return list(self._hosts.values())

    @property
    def identity(self) -> Path:
        """The private key that logs in on every host."""
        return self.where / "id"

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file with the key of every host."""
        return self.where / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """An ssh_config for `ssh -F … NAME`."""
        return self.where / "ssh_config"

    def up(self) -> None:
        """
        Make the network; hosts come with `boot`.

        Raises:
            FarmError: this machine lacks something; the message says how to get it.
        """
        require()
        clean_up()
        self._base, self._held = base_tree()
        with locked(cache() / "farms.lock"):
            self._lock = _claim(self.where)
        if self._lock is None:
            raise FarmError(f"the farm {self.name} is already up")
        atexit.register(self.down)
        _allow_many_hosts()
        call(
            "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(self.identity)
        )
        self._write_ssh_files()
        self.outside = network.Outside()
        self.network.up()

    def enter(self) -> None:
        """Move this thread and all it starts into the hub, from where the hosts are reached."""
        network.enter(self.network.hub)

    def leave(self) -> None:
        """Move this thread back to the network it came from."""
        if self.outside is not None:
            self.outside.enter()

    def boot(self, count: int = 1, *, disk: str | None = None) -> list[Host]:
        """
        Boot *count* new hosts, with a disk no larger than *disk* ("64M") if that is given.

        They know one another's names. This thread has to be in the hub, see `enter`.
        """
        hosts = [self._new_host(disk) for _ in range(count)]
        names = {host.name: host.ip for host in hosts}
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda host: host.prepare(names), hosts))
            self._write_ssh_files()
            list(pool.map(Host.launch, hosts))
            list(pool.map(Host.wait, hosts))
        return hosts

    def remove(self, hosts: Iterable[Host]) -> None:
        """Remove *hosts* and all that belongs to them; no later host has their address."""
        for host in hosts:
            host.remove()
            del self._hosts[host.name]
            shutil.rmtree(PROPAGATE / host.space, ignore_errors=True)
        self._write_ssh_files()

    def down(self) -> None:
        """Remove everything; a second call does nothing, nor does one from a forked child."""
        if self._lock is None or os.getpid() != self._owner:
            return
        self.leave()
        atexit.unregister(self.down)
        _remove_all(self.name, self.where)
        for host in self.hosts:
            host.reap()
        self._hosts.clear()
        os.close(self._held)
        self._lock.close()
        self._lock = None

    def leftovers(self) -> list[str]:
        """Return what is on this machine of this farm: processes, mounts, namespaces, groups."""
        return leftovers(self.name, self.where)

    def _new_host(self, disk: str | None) -> Host:
        self._booted += 1
        name = f"h{self._booted}"
        host = Host(
            name=name,
            number=self._booted,
            network=self.network,
            base=self._base,
            where=self.where / "hosts" / name,
            public_key=self.identity.with_suffix(".pub").read_text(),
            disk=disk,
        )
        host.keyring = self.where
        self._hosts[name] = host
        return host

    def _write_ssh_files(self) -> None:
        """Write known_hosts and ssh_config anew, for the hosts there are now."""
        hosts = [host for host in self._hosts.values() if host.host_key]
        known = "".join(f"{host.name},{host.ip} {host.host_key}\n" for host in hosts)
        self.known_hosts.write_text(known)
        names = "".join(f"Host {host.name}\n  HostName {host.ip}\n" for host in hosts)
        self.ssh_config.write_text(
            f"{names}Host *\n  User deploy\n  IdentityFile {self.identity}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
            "  ConnectTimeout 5\n  LogLevel ERROR\n"
            # The default is safe from quantum computers, and twice as slow to log in.
            "  KexAlgorithms curve25519-sha256\n"
        )


def require() -> None:
    """
    Make sure that this machine can run a farm.

    Raises:
        FarmError: it cannot; the message says what to do.
    """
    if os.geteuid() != 0:
        raise FarmError("the test hosts need root: run `python3 noxfile.py -s tests`, or sudo -E")
    missing = missing_packages()
    if missing:
        raise FarmError(f"the test hosts need: apt-get install -y {' '.join(missing)}")


def clean_up() -> None:
    """Remove what runs have left behind that were killed; leave alone those that still live."""
    with locked(cache() / "farms.lock"):
        for where in sorted((cache() / "farms").glob("*/")):
            lock = _claim(where)
            if lock is not None:
                with lock:
                    _remove_all(where.name, where)


def leftovers(name: str, where: Path) -> list[str]:
    """Return what is on this machine of the farm *name*, whose files are in *where*."""
    group = Group(name)
    return [
        *(f"process {pid}" for pid in group.processes()),
        *(f"group {path}" for path in group.left()),
        *(f"namespace {space}" for space in network.Network(name).spaces()),
        *(f"mount {path}" for path in mounts_below(where)),
        *(f"file {path}" for path in [where, *PROPAGATE.glob(f"{name}-*")] if path.exists()),
    ]


def _remove_all(name: str, where: Path) -> None:
    """Remove the farm *name* with nothing but its name to go by."""
    group = Group(name)
    if group.left():
        for host in sorted({path for top in group.paths for path in top.glob("*/")}):
            Group(f"{name}/{host.name}").freeze(frozen=False)
        group.kill()
        group.remove()
    network.Network(name).down()
    for path in PROPAGATE.glob(f"{name}-*"):
        shutil.rmtree(path, ignore_errors=True)
    remove_files(where)


def _claim(where: Path) -> IO[str] | None:
    """
    Return the open lock of the farm in *where*, or None if a living process holds it.

    The kernel lets go of the lock when its process dies, however it dies.
    """
    where.mkdir(parents=True, exist_ok=True)
    lock = (where / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _allow_many_hosts() -> None:
    """Raise the limit that lets systemd fail at random from about the tenth host on."""
    with contextlib.suppress(OSError):
        if int(INOTIFY.read_text()) < ENOUGH:
            INOTIFY.write_text(str(ENOUGH))
