"""SFTP servers that are not OpenSSH's, and what stands between one and us."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

import asyncssh
import paramiko

from deploykit.transport.sftp.packets import Kind
from deploykit.transport.sftp.reading import Packets
from tests.transport.sftp_servers import (
    ADDRESS,
    Login,
    Serving,
    chrooted,
    free_port,
    keys,
    openssh,
    program,
)

__all__ = ["SERVERS"]

EXTENSIONS = (
    *("limits", "posix-rename", "statvfs", "fstatvfs", "hardlink", "fsync", "copy-data"),
    *("lsetstat", "expand-path"),
)
COPIES = frozenset({"copy-data"})
PROFTPD = """
ServerType standalone
DefaultAddress {address}
UseIPv6 off
Port {port}
User nobody
Group nogroup
ModulePath /usr/lib/proftpd
LoadModule mod_sftp.c
SFTPEngine on
SFTPHostKey {folder}/host
SFTPAuthMethods publickey
SFTPAuthorizedUserKeys file:{folder}/login.rfc4716
RootLogin on
UseFTPUsers off
RequireValidShell off
AllowOverwrite on
AllowStoreRestart on
ScoreboardFile {folder}/scoreboard
PidFile {folder}/pid
SystemLog none
TransferLog none
WtmpLog off
"""


@contextmanager
def proftpd() -> Iterator[Login]:
    """Run proftpd with mod_sftp, for root."""
    with keys() as folder:
        port = free_port()
        config = folder / "proftpd.conf"
        config.write_text(PROFTPD.format(address=ADDRESS, port=port, folder=folder))
        public = subprocess.check_output(["ssh-keygen", "-e", "-f", f"{folder}/login.pub"])
        (folder / "login.rfc4716").write_bytes(public)
        here = folder / "files"
        here.mkdir()
        with program(["/usr/sbin/proftpd", "--nodaemon", "--quiet", "-c", str(config)], port):
            yield Login(
                port, "root", folder / "login", str(here), here, frozenset(), COPIES, follows=True
            )


@contextmanager
def asyncssh_server() -> Iterator[Login]:
    """Run asyncssh's, in a thread."""
    with keys() as folder:
        here = folder / "files"
        here.mkdir()
        logins: list[asyncssh.SSHServerConnection] = []
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(_listen(folder, logins), loop).result()
        try:
            yield Login(server.get_port(), "root", folder / "login", str(here), here)
        finally:
            asyncio.run_coroutine_threadsafe(_end(server, logins), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


class _Logins(asyncssh.SSHServer):
    """Keeps the connections, which outlive the server that took them."""

    def __init__(self, logins: list[asyncssh.SSHServerConnection]) -> None:
        self._logins = logins

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Note one more."""
        self._logins.append(conn)


async def _listen(folder: Path, logins: list[asyncssh.SSHServerConnection]) -> asyncssh.SSHAcceptor:
    return await asyncssh.listen(
        ADDRESS,
        0,
        server_factory=partial(_Logins, logins),
        server_host_keys=[str(folder / "host")],
        authorized_client_keys=str(folder / "login.pub"),
        sftp_factory=True,
    )


async def _end(server: asyncssh.SSHAcceptor, logins: list[asyncssh.SSHServerConnection]) -> None:
    server.close()
    await server.wait_closed()
    for login in logins:
        login.abort()
        await login.wait_closed()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*rest, return_exceptions=True)


class Between:
    """A channel, as it is but for what is overridden."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self.channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, name)


class Reordering(Between):
    """Gives all answers that are there in any order but their own; section 6.1 allows it."""

    def __init__(self, channel: paramiko.Channel) -> None:
        super().__init__(channel)
        self._random = Random(0)
        self._packets = Packets()
        self._left = b""

    def recv(self, size: int) -> bytes:
        """Return the next answers."""
        while not self._left:
            held: list[bytes] = []
            while not held or self.channel.recv_ready():
                data = self.channel.recv(1 << 16)
                if not data:
                    return b""
                held += self._packets.feed(data)
            self._random.shuffle(held)
            self._left = b"".join(len(one).to_bytes(4, "big") + one for one in held)
        piece, self._left = self._left[:size], self._left[size:]
        return piece


class RefusingCopies(Between):
    """A server that announces copies and does not make them, as some file systems have it."""

    def sendall(self, data: bytes) -> None:
        """Send *data*, with another extension's name in the place of that for copies."""
        self.channel.sendall(data.replace(b"\0\0\0\x09copy-data", b"\0\0\0\x09copy-none"))


@contextmanager
def through(between: type[Between], lacks: frozenset[str] = frozenset()) -> Iterator[Login]:
    """Run OpenSSH's server, with something in between."""
    with openssh() as login:
        yield replace(
            login, lacks=lacks, through=lambda channel: cast("paramiko.Channel", between(channel))
        )


@contextmanager
def refusing_links() -> Iterator[Login]:
    """Run OpenSSH's server, which makes no links."""
    with openssh("symlink") as login:
        yield replace(login, cannot=frozenset({Kind.SYMLINK}))


SERVERS: dict[str, Serving] = {
    "openssh": openssh,
    "chrooted": chrooted,
    "openssh of old": partial(openssh, *EXTENSIONS),
    "openssh 7": partial(openssh, "limits", "lsetstat", "expand-path", "copy-data"),
    "openssh without limits": partial(openssh, "limits"),
    "without links": refusing_links,
    "without copies": partial(through, RefusingCopies, COPIES),
    "reordering": partial(through, Reordering),
    "asyncssh": asyncssh_server,
    "proftpd": proftpd,
}
"""By name: those that are not this machine's own files."""
