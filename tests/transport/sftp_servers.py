"""SFTP servers on this machine, each as somebody's host has it, and one connection to each."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko

from deploykit.transport.sftp.packets import Kind
from tests.farm.waiting import eventually

__all__ = [
    "ADDRESS",
    "Login",
    "Serving",
    "chrooted",
    "connection",
    "free_port",
    "keys",
    "openssh",
    "program",
]

ADDRESS = "127.0.0.1"
SFTP_ONLY = "nobody"  # has no shell


@dataclass(frozen=True)
class Login:
    """
    How to get in.

    Args:
        port: of this machine.
        user: whose name is used.
        key: file of the private key.
        root: where files go, as the server names it.
        here: the same folder, as this machine names it.
        cannot: requests that the server refuses, of those that any server should know.
        lacks: extensions that it does not offer, or not make work.
        follows: it takes links to folders for those, where they are looked at or renamed.
        through: puts something between its channel and us.
    """

    port: int
    user: str
    key: Path
    root: str
    here: Path
    cannot: frozenset[Kind] = frozenset()
    lacks: frozenset[str] = frozenset()
    follows: bool = False
    through: Callable[[paramiko.Channel], paramiko.Channel] = lambda channel: channel


Serving = Callable[[], AbstractContextManager[Login]]


@contextmanager
def keys() -> Iterator[Path]:
    """Give a folder of root's, in a place that sshd trusts, with keys `host` and `login`."""
    folder = Path(tempfile.mkdtemp(prefix="dk-sftp-", dir="/run"))
    try:
        folder.chmod(0o755)
        for name in ("host", "login"):
            command = ["ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-f", name]
            subprocess.run(command, cwd=folder, check=True)
        yield folder
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as found:
        found.bind((ADDRESS, 0))
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether somebody does."""
    with socket.socket() as tried:
        return tried.connect_ex((ADDRESS, port)) == 0


@contextmanager
def program(command: list[str], port: int) -> Iterator[None]:
    """Run a server that stays in the foreground, from when it listens on."""
    with subprocess.Popen(command) as process:
        try:
            eventually(lambda: listens(port) or process.poll() is not None, message=command[0])
            yield
        finally:
            process.terminate()


@contextmanager
def openssh(*refused: str) -> Iterator[Login]:
    """Run sshd for root; extensions in *refused* are not announced, and other requests denied."""
    sftp = "internal-sftp" + (f" -P {','.join(refused)}" if refused else "")
    with keys() as folder, sshd(folder, f"Subsystem sftp {sftp}") as port:
        here = folder / "files"
        here.mkdir()
        yield Login(port, "root", folder / "login", str(here), here, lacks=frozenset(refused))


@contextmanager
def chrooted() -> Iterator[Login]:
    """Run sshd for a user who has no shell, and sees nothing but a folder of his."""
    with keys() as folder:
        here = folder / "jail" / "files"
        here.mkdir(parents=True)
        shutil.chown(here, SFTP_ONLY)
        jail = (f"ChrootDirectory {here.parent}", "ForceCommand internal-sftp")
        with sshd(folder, "Subsystem sftp internal-sftp", *jail) as port:
            yield Login(port, SFTP_ONLY, folder / "login", "/files", here)


@contextmanager
def sshd(folder: Path, *lines: str) -> Iterator[int]:
    """Run sshd with the keys in *folder*, and give its port."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it does not start without
    port = free_port()
    config = folder / "sshd_config"
    own = (
        *(f"ListenAddress {ADDRESS}", f"Port {port}", f"HostKey {folder}/host", "PidFile none"),
        *(f"AuthorizedKeysFile {folder}/login.pub", "PermitRootLogin prohibit-password"),
        *("StrictModes no", "UsePAM no", "LogLevel ERROR"),
    )
    config.write_text("\n".join([*own, *lines, ""]))
    with program(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], port):
        yield port


@contextmanager
def connection(login: Login) -> Iterator[paramiko.Transport]:
    """Give an SSH connection."""
    sock = socket.create_connection((ADDRESS, login.port))
    transport = paramiko.Transport(sock)
    try:
        transport.connect(username=login.user, pkey=paramiko.ECDSAKey(filename=str(login.key)))
        yield transport
    finally:
        with suppress(EOFError, OSError):
            transport.close()
