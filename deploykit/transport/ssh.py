"""
Hosts reached by SSH: the only module that imports Fabric and paramiko.

Fabric reads `~/.ssh/config` and opens connections, paramiko carries them. What their defaults would
do to users is shut off here: `~/.fabric.yml` (which can turn failures into successes), unknown host
keys accepted in silence, Nagle's algorithm (40 ms a command), waiting an hour for a dead peer.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import paramiko
from fabric import Config, Connection

from deploykit.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectFailed,
    HostKeyRefused,
    LinkLost,
    TransferFailed,
)
from deploykit.hosts import Host
from deploykit.transport.base import Completed

__all__ = ["SSHTransport", "connect", "fingerprint", "host_key_of", "known_hosts_file"]

CONNECT_TIMEOUT = 10.0
DEAD_AFTER = 30.0  # seconds until a peer that answers nothing is given up
PIECE = 1 << 15  # bytes; what one SFTP request and one channel packet carry


def connect(host: Host) -> SSHTransport:
    """
    Open a connection to *host*.

    Raises:
        ConnectFailed: no answer, or no SSH server there.
        HostKeyRefused: its key is not known, or not the known one.
        AuthenticationFailed: no key was accepted.
    """
    connection = _connection(host)
    with _translated(host, connection):
        connection.open()
    transport = connection.transport
    _tune(transport)
    return SSHTransport(host, connection)


def host_key_of(host: Host) -> paramiko.PKey:
    """Ask *host* for its public key, without logging in; for `deploykit trust`."""
    connection = _connection(host)
    with _translated(host, connection):
        gateway = connection.gateway
        sock = connection.open_gateway() if gateway else _dial(connection)
        with paramiko.Transport(sock) as transport:
            transport.start_client(timeout=CONNECT_TIMEOUT)
            return transport.get_remote_server_key()


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as OpenSSH prints it."""
    return "SHA256:" + b64encode(sha256(key.asbytes()).digest()).decode().rstrip("=")


def known_hosts_file(host: Host) -> tuple[Path, str]:
    """Return the known_hosts file for *host* and the name under which it stands there."""
    connection = _connection(host)
    name = connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"
    return _known_hosts(connection)[0], name


class SSHTransport:
    """One open SSH connection."""

    def __init__(self, host: Host, connection: Any) -> None:
        self._host = host
        self._connection = connection
        self._files: SSHFiles | None = None
        self._lock = threading.Lock()

    def execute(
        self,
        command: str,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `Transport`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            channel = self._connection.transport.open_session(timeout=DEAD_AFTER)
        except (paramiko.SSHException, EOFError, OSError, AttributeError) as error:
            raise self._lost("opening a channel") from error
        try:
            try:
                channel.exec_command(command)
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise self._lost("a command") from error  # also a TimeoutError of the connection's
            return _converse(channel, stdin, deadline, on_output, self._lost)
        except (paramiko.SSHException, EOFError, ConnectionError) as error:
            raise self._lost("a command") from error
        finally:
            channel.close()

    def hold(self, command: str) -> SSHHeld:
        """See `Transport`."""
        try:
            channel = self._connection.transport.open_session(timeout=DEAD_AFTER)
            channel.exec_command(command)
        except (paramiko.SSHException, EOFError, OSError, AttributeError) as error:
            raise self._lost("opening a channel") from error
        return SSHHeld(channel)

    def files(self) -> SSHFiles:
        """See `Transport`."""
        with self._lock:
            if self._files is None:
                try:
                    self._files = SSHFiles(self._connection.transport, self._host.label)
                except (paramiko.SSHException, EOFError, OSError) as error:
                    raise self._lost("opening SFTP") from error
            return self._files

    def close(self) -> None:
        """See `Transport`."""
        with suppress(OSError, EOFError):  # the peer may be gone already, which is what we want
            self._connection.close()

    def _lost(self, during: str) -> LinkLost:
        return LinkLost(f"the connection to {self._host.label} was lost during {during}")


class SSHHeld:
    """A channel with its input left open."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def beat(self) -> None:
        """See `Held`."""
        # The next command on this connection reports it.
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.send(b"\n")

    def close(self) -> None:
        """See `Held`."""
        with suppress(OSError, EOFError):  # the connection may be gone, which ends it too
            self._channel.close()


class SSHFiles:
    """Files over SFTP."""

    def __init__(self, transport: paramiko.Transport, label: str) -> None:
        client = paramiko.SFTPClient.from_transport(transport)
        if client is None:
            raise TransferFailed(f"{label} offers no SFTP")
        client.get_channel().settimeout(DEAD_AFTER)  # type: ignore[union-attr]  # an open client has one
        self._client = client
        self._label = label

    def size(self, path: str) -> int | None:
        """See `Files`."""
        try:
            return self._client.lstat(path).st_size or 0
        except FileNotFoundError:
            return None

    def mkdir(self, path: str, mode: int) -> None:
        """See `Files`."""
        with self._named(path):
            try:
                self._client.mkdir(path, mode)
            except OSError:
                if self.size(path) is None:
                    raise
            self._client.chmod(path, mode)

    def write(
        self, source: BinaryIO, path: str, mode: int, sent: Callable[[int], None] | None = None
    ) -> None:
        """See `Files`."""
        with self._named(path), self._client.open(path, "wb") as target:
            target.chmod(mode)  # before its content, which may be secret
            target.set_pipelined(True)
            while piece := source.read(PIECE):
                target.write(piece)
                if sent:
                    sent(len(piece))
            target.set_pipelined(False)

    def symlink(self, target: str, path: str) -> None:
        """See `Files`."""
        with self._named(path):
            if self.size(path) is not None:
                self._client.remove(path)
            self._client.symlink(target, path)

    def rename(self, old: str, new: str) -> None:
        """See `Files`."""
        with self._named(new):
            self._client.posix_rename(old, new)

    @contextmanager
    def _named(self, path: str) -> Iterator[None]:
        try:
            yield
        except (paramiko.SSHException, EOFError, TimeoutError) as error:
            raise LinkLost(
                f"the connection to {self._label} was lost while writing {path}"
            ) from error
        except OSError as error:
            reason = error.strerror or str(error) or "refused (disk full, or no right to write?)"
            raise TransferFailed(f"{self._label}: cannot write {path}: {reason}") from error


def _converse(
    channel: paramiko.Channel,
    stdin: bytes,
    deadline: float | None,
    on_output: Callable[[bytes], None] | None,
    lost: Callable[[str], LinkLost],
) -> Completed:
    """Send *stdin*, read both streams to their ends, and wait for the exit code."""
    out, err = bytearray(), bytearray()
    take = on_output or out.extend
    writer = threading.Thread(target=_send, args=(channel, stdin), daemon=True)
    errors = threading.Thread(target=_drain, args=(channel, err), daemon=True)
    writer.start()
    errors.start()
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        try:
            piece = channel.recv(PIECE)
        except TimeoutError:
            raise TimeoutError from None
        if not piece:
            break
        take(piece)
    errors.join(DEAD_AFTER)
    if not channel.status_event.wait(DEAD_AFTER):
        raise lost("a command")
    if channel.exit_status == -1:
        raise lost("a command")
    return Completed(channel.exit_status, bytes(out), bytes(err))


def _send(channel: paramiko.Channel, stdin: bytes) -> None:
    with suppress(OSError, EOFError):  # the reader sees how the command ended, and says it
        channel.sendall(stdin)
        channel.shutdown_write()


def _drain(channel: paramiko.Channel, into: bytearray) -> None:
    with suppress(OSError, EOFError):  # as in _send
        while piece := channel.recv_stderr(PIECE):
            into.extend(piece)


def _connection(host: Host) -> Any:
    """Make Fabric's connection, not yet open, hardened, with everything from ssh_config."""
    config = Config(lazy=True)
    config.load_ssh_config()
    connection = Connection(
        host.address,
        user=host.user,
        port=host.port,
        config=config,
        gateway=_gateway(host, config),
        connect_timeout=CONNECT_TIMEOUT,
        connect_kwargs=_connect_kwargs(host),
    )
    _check_keys(connection, host)
    return connection


def _gateway(host: Host, config: Any) -> Any:
    """Return the hardened connection to the last jump host, None without one, or a ProxyCommand."""
    found = config.base_ssh_config.lookup(host.address)
    jumps = host.jump or found.get("proxyjump", "")
    if jumps in ("", "none"):
        return found.get("proxycommand") or False
    *before, last = jumps.split(",")
    user, at, place = last.rpartition("@")
    name, colon, port = place.rpartition(":")
    return _connection(
        Host(
            name if colon else place,
            user=user if at else None,
            port=int(port) if colon else None,
            identity=host.identity,
            jump=",".join(before) or None,
        )
    )


def _connect_kwargs(host: Host) -> dict[str, Any]:
    kwargs: dict[str, Any] = {"banner_timeout": CONNECT_TIMEOUT, "auth_timeout": DEAD_AFTER}
    if host.identity:
        path = Path(host.identity).expanduser()
        if not path.is_file():
            raise ConfigurationError(f"host {host.label}: there is no key file {host.identity!r}")
        kwargs |= {"key_filename": [str(path)], "look_for_keys": False, "allow_agent": False}
    return kwargs


def _known_hosts(connection: Any) -> list[Path]:
    named = str(connection.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts"))
    return [Path(name).expanduser() for name in named.split()]


def _check_keys(connection: Any, host: Host) -> None:
    """Let only known host keys pass: the pinned one, else those of known_hosts."""
    client: paramiko.SSHClient = connection.client
    client.set_missing_host_key_policy(_Unknown(host))
    name = connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"
    if host.host_key:
        kind, key = _parse_key(host)
        client.get_host_keys().add(name, kind, key)
        return
    for path in (Path("/etc/ssh/ssh_known_hosts"), *_known_hosts(connection)):
        if path.is_file():
            _load(client, path, host)


def _load(client: paramiko.SSHClient, path: Path, host: Host) -> None:
    try:
        client.load_system_host_keys(str(path))
    except (paramiko.hostkeys.InvalidHostKey, paramiko.SSHException, OSError) as error:
        raise ConfigurationError(
            f"host {host.label}: {path} cannot be read as known_hosts: {error}",
            state="nothing was touched",
            then=f"mend or remove the line: ssh-keygen -F {host.address} -f {path}",
        ) from error


def _parse_key(host: Host) -> tuple[str, paramiko.PKey]:
    words = (host.host_key or "").split()
    if len(words) > 2 and not words[0].startswith(("ssh-", "ecdsa-", "sk-")):
        words = words[1:]  # a whole line of known_hosts
    try:
        entry = paramiko.hostkeys.HostKeyEntry.from_line(f"x {words[0]} {words[1]}")
    except (IndexError, paramiko.SSHException, paramiko.hostkeys.InvalidHostKey):
        entry = None
    if entry is None or entry.key is None:
        raise ConfigurationError(
            f"host {host.label}: host_key is not a public key such as 'ssh-ed25519 AAAA…'"
        )
    return entry.key.get_name(), entry.key


class _Unknown(paramiko.MissingHostKeyPolicy):
    """Refuses a host whose key is not known, naming the fingerprint and what to type."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Refuse."""
        del client, hostname
        label = self._host.label
        raise HostKeyRefused(
            f"host {label}: its key is not known ({key.get_name()} {fingerprint(key)})",
            state="nothing was touched",
            then=f"compare the fingerprint with the host's own, then: deploykit trust {label}",
        )


def _tune(transport: paramiko.Transport) -> None:
    """Send at once, and notice a dead peer within `DEAD_AFTER` seconds."""
    transport.set_keepalive(int(DEAD_AFTER / 3))
    sock = transport.sock
    if not isinstance(sock, socket.socket):
        return  # through a jump host; the first connection has its own socket
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", int(DEAD_AFTER / 3)),
        ("TCP_KEEPINTVL", int(DEAD_AFTER / 6)),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", int(DEAD_AFTER * 2000 / 3)),  # from a keepalive on, itself a third
    ):
        if hasattr(socket, option):  # not every system has every one
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _dial(connection: Any) -> socket.socket:
    return socket.create_connection((connection.host, connection.port), CONNECT_TIMEOUT)


@contextmanager
def _translated(host: Host, connection: Any) -> Iterator[None]:
    """Turn what Fabric and paramiko raise while connecting into our errors."""
    place = f"{connection.host}:{connection.port}"
    nothing = "nothing was touched"
    try:
        yield
    except paramiko.BadHostKeyException as error:
        raise HostKeyRefused(
            f"host {host.label}: its key has CHANGED: it shows {fingerprint(error.key)}, "
            f"known is {fingerprint(error.expected_key)}",
            state=nothing,
            then="if the server was reinstalled, remove the old line from known_hosts (or "
            f"host_key=), then: deploykit trust {host.label}",
        ) from error
    except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
        user = connection.user or getpass.getuser()
        offered = host.identity or "the agent's and ~/.ssh's keys"
        agent = "" if os.environ.get("SSH_AUTH_SOCK") else " (no agent is running)"
        raise AuthenticationFailed(
            f"host {host.label}: {user}@{place} refused {offered}{agent}",
            state=nothing,
            then=f"put the public key there: ssh-copy-id -p {connection.port} "
            f"{user}@{connection.host}, or name the right one by identity=",
        ) from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        why = str(error) or type(error).__name__
        raise ConnectFailed(
            f"host {host.label}: no SSH connection to {place}: {why}",
            state=nothing,
            then="is the host up, and its address and port right? try: "
            f"ssh -p {connection.port} {connection.host} true",
        ) from error
