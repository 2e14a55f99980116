"""One host as a machine: its disk, its power switch, and a way in for the tests' own set-up."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.farm.base import CHROOT_PATH
from tests.farm.cgroup import Group
from tests.farm.network import NETNS
from tests.farm.shell import FarmError, call
from tests.farm.waiting import eventually

if TYPE_CHECKING:
    from tests.farm.network import Network

REBOOT: Final = 133
"""What systemd-nspawn exits with when the host inside asked for a reboot."""

LOGINS: Final = {"root": ("root", 0), "deploy": ("home/deploy", 1000), "app": ("home/app", 1001)}


class Machine:
    """A Debian of its own, with systemd as PID 1; *where* is the directory of its files."""

    def __init__(
        self,
        *,
        name: str,
        number: int,
        network: Network,
        base: Path,
        where: Path,
        public_key: str,
        disk: str | None = None,
    ) -> None:
        self.name = name
        self.ip = network.address(number)
        self.network = network
        self.space = network.namespace(name)
        self.host_key = ""
        self._base = base
        self._where = where
        self._public_key = public_key
        self._disk = disk
        self._group = Group(f"{network.name}/{name}")
        self._pid1 = 0
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.ip}>"

    @property
    def boot_log(self) -> Path:
        """The file with what the host said on its console."""
        return self._where / "boot.log"

    @property
    def files(self) -> Path:
        """Its root directory, as this machine sees it."""
        return self._where / "root"

    def prepare(self, neighbours: dict[str, str]) -> None:
        """Lay out the disk and plug in the network; *neighbours* are other names and addresses."""
        root, disk = self._where / "root", self._where / "disk"
        for path in (root, disk):
            path.mkdir(parents=True)
        if self._disk is not None:
            # A real limit: the layer that takes the host's writes lies on a file system that small.
            options = f"size={self._disk},mode=755"
            call("mount", "-t", "tmpfs", "-o", options, "farmdisk", str(disk))
        upper, work = disk / "upper", disk / "work"
        upper.mkdir()
        work.mkdir()
        self._personalise(upper, neighbours)
        options = f"lowerdir={self._base},upperdir={upper},workdir={work}"
        call("mount", "-t", "overlay", "overlay", "-o", options, str(root))
        self.network.attach(self.name, self.ip)

    def _personalise(self, upper: Path, neighbours: dict[str, str]) -> None:
        """Give the host its name, its ssh key and the keys that may log in."""
        (upper / "etc/ssh").mkdir(parents=True)
        (upper / "etc/hostname").write_text(f"{self.name}\n")
        names = {"localhost": "127.0.0.1", **neighbours, self.name: self.ip}
        text = "".join(f"{ip} {name}\n" for name, ip in names.items())
        (upper / "etc/hosts").write_text(text)
        key = upper / "etc/ssh/ssh_host_ed25519_key"
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key))
        self.host_key = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        for home, uid in LOGINS.values():
            keys = upper / home / ".ssh/authorized_keys"
            keys.parent.mkdir(parents=True)
            keys.write_text(self._public_key)
            for path in (upper / home, keys.parent, keys):
                path.chmod(0o600 if path == keys else 0o700)
                os.chown(path, uid, uid)
        (upper / "home").chmod(0o755)

    def start(self, *, within: float = 60) -> None:
        """Switch the host on and wait until it has booted and ssh answers."""
        self.launch()
        self.wait(within=within)

    def launch(self) -> None:
        """Switch the host on and come back at once."""
        call("ip", "-n", self.space, "link", "set", "veth0", "up")
        nspawn = (
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network systemd-nspawn --quiet --boot"
            f" --directory={self._where / 'root'} --machine={self.space} --hostname={self.name}"
            # There need be no systemd outside to register with.
            " --register=no --keep-unit --notify-ready=no --link-journal=no"
            f" --network-namespace-path=/run/netns/{self.space} --capability=CAP_NET_ADMIN"
            " --console=pipe --resolv-conf=off --timezone=off"
        )
        script = (
            f"{self._group.join_script()}"
            f"while :; do {nspawn}; code=$?; [ $code = {REBOOT} ] || exit $code; done\n"
        )
        with self.boot_log.open("ab") as log:
            # `kill` ends this process, by way of the control group.
            self._supervisor = subprocess.Popen(
                ["/bin/bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, *, within: float = 60) -> None:
        """
        Wait until the host has booted and ssh answers.

        Raises:
            FarmError: it has not, with the last lines of its console.
        """
        try:
            eventually(self._is_booted, within=within, failing=(OSError, FarmError))
        except TimeoutError as error:
            console = self.boot_log.read_text(errors="replace")[-2000:]
            raise FarmError(f"{self.name} did not boot: {error}\n{console}") from error

    def _is_booted(self) -> bool:
        if not self.is_running:
            return False
        state = self.root("systemctl is-system-running --wait", check=False).stdout.strip()
        return state in ("running", "degraded") and self._greets()

    def _greets(self) -> bool:
        with socket.create_connection((self.ip, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"

    @property
    def is_running(self) -> bool:
        """Whether the host is switched on and its PID 1 lives."""
        return self.pid1 != 0

    @property
    def pid1(self) -> int:
        """The id that the host's PID 1 has outside, or 0."""
        if not self._is_init(self._pid1):
            self._pid1 = next(filter(self._is_init, self._group.processes()), 0)
        return self._pid1

    def _is_init(self, pid: int) -> bool:
        """
        Tell whether *pid* is this host's PID 1.

        Before it has become systemd it still sees the files of the machine outside.
        """
        process = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            status = (process / "status").read_text()
            ids = status.partition("NSpid:")[2].partition("\n")[0].split()
            return (
                ids[1:] == ["1"]
                and status.startswith("Name:\tsystemd\n")
                and (process / "ns/net").stat().st_ino == (NETNS / self.space).stat().st_ino
            )
        return False

    def root(
        self,
        script: str,
        *,
        input: str | bytes = b"",  # noqa: A002 - the name subprocess.run gives it
        check: bool = True,
        within: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a bash *script* in the host as root, not by way of ssh; it stops at an error.

        Raises:
            CommandFailedError: it exited with another status than 0, and *check* is true.
        """
        return self.run("/bin/bash", "-ec", script, input=input, check=check, within=within)

    def as_user(
        self,
        user: str,
        script: str,
        *,
        input: str | bytes = b"",  # noqa: A002
        check: bool = True,
        within: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Do what `root` does, as *user*."""
        become = f"setpriv --reuid={user} --regid={user} --init-groups --reset-env"
        return self.run(
            *("/bin/bash", "-ec", f'cd ~{user}; exec {become} /bin/bash -ec "$1"', "bash", script),
            input=input,
            check=check,
            within=within,
        )

    def run(
        self,
        *command: str,
        input: str | bytes = b"",  # noqa: A002
        check: bool = True,
        within: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run one *command* in the host as root, without a shell."""
        pid = self.pid1
        if pid == 0:
            raise FarmError(f"{self.name} is switched off")
        return call(
            *("nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid"),
            *("env", "-i", f"PATH={CHROOT_PATH}", "HOME=/root", "USER=root", "LANG=C.UTF-8"),
            *command,
            input=input,
            check=check,
            within=within,
        )

    def kill(self) -> None:
        """
        Take the power away: nobody gets a word of farewell, and files stay as they are.

        What the host wrote and had not yet synced is not lost, unlike on hardware.
        """
        # With the cable in, the kernel would close the dead host's connections politely.
        call("ip", "-n", self.space, "link", "set", "veth0", "down", check=False)
        self._group.kill()
        self.reap()

    def reap(self) -> None:
        """Take note that the host's processes have ended, after whoever killed them."""
        if self._supervisor is not None:
            self._supervisor.wait()

    def reboot(self, *, within: float = 60) -> None:
        """Reboot the host in an orderly way and wait until it is back."""
        before = self.boot_id
        self.root("systemctl reboot", check=False)
        # Entering a host that is just going down can hang for as long as it is let: ask shortly.
        eventually(
            lambda: self._boot_id(within=3) != before,
            within=within,
            failing=(OSError, FarmError),
            message="reboot",
        )
        self.wait(within=within)

    @property
    def boot_id(self) -> str:
        """The id that the kernel gives to each boot."""
        return self._boot_id()

    def _boot_id(self, within: float = 60) -> str:
        return self.root("cat /proc/sys/kernel/random/boot_id", within=within).stdout.strip()

    def remove(self) -> None:
        """Switch the host off for good and leave nothing of it."""
        self.kill()
        self._group.remove()
        self.network.detach(self.name)
        remove_files(self._where)


def remove_files(where: Path) -> None:
    """Unmount all that is mounted below *where*, and delete it."""
    for mount in reversed(mounts_below(where)):
        # Lazily, because a process that has just been killed can still hold a file.
        call("umount", "--lazy", str(mount))
    shutil.rmtree(where, ignore_errors=True)


def mounts_below(where: Path) -> list[Path]:
    """Return the mount points below *where*, in the order they were mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
    return [point for point in points if point.is_relative_to(where)]
