"""
Opens connections by Fabric, which reads `~/.ssh/config`, hardened.

What its defaults would do to users is shut off here: `~/.fabric.yml` (which can turn failures into
successes), unknown host keys accepted in silence, Nagle's algorithm (40 ms a command), waiting an
hour for a dead peer.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection

from deploykit.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectFailed,
    HostKeyRefused,
)
from deploykit.hosts import Host
from deploykit.transport.ssh import limits
from deploykit.transport.ssh.keys import check_keys, fingerprint, known_hosts, known_name
from deploykit.transport.ssh.watching import watch

__all__ = ["dial", "hang_up", "host_key_of", "known_hosts_file"]

# Of what paramiko can, what OpenSSH's client offers by default (ssh_config(5), Ciphers and MACs).
# The server takes the first that it can, too; GCM is two to three times as fast here as CTR.
CIPHERS = (
    *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
    *("aes128-ctr", "aes192-ctr", "aes256-ctr"),
)
MACS = (
    *("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
    *("hmac-sha2-256", "hmac-sha2-512", "hmac-sha1"),
)


def dial(host: Host) -> Any:
    """
    Return Fabric's connection to *host*, open and watched.

    Raises:
        ConnectFailed: no answer, or no SSH server there.
        HostKeyRefused: its key is not known, or not the known one.
        AuthenticationFailed: no key was accepted.
    """
    connection = _connection(host)
    try:
        with _translated(host, connection):
            connection.open()
        for each in _chain(connection):
            _tune(each.transport)
            watch(each.transport)
    except BaseException:
        hang_up(connection)
        raise
    return connection


def hang_up(connection: Any) -> None:
    """End *connection*, and those that carry it."""
    for each in _chain(connection):
        with suppress(OSError, EOFError, paramiko.SSHException):  # the peer may be gone already
            each.client.close()


def host_key_of(host: Host) -> paramiko.PKey:
    """Ask *host* for its public key, without logging in; for `deploykit trust`."""
    connection = _connection(host)
    try:
        with _translated(host, connection):
            gateway = connection.gateway
            sock = connection.open_gateway() if gateway else _socket(connection)
            with _transport(sock) as transport:
                transport.start_client(timeout=limits.CONNECT_TIMEOUT)
                return transport.get_remote_server_key()
    finally:
        hang_up(connection)


def known_hosts_file(host: Host) -> tuple[Path, str]:
    """Return the known_hosts file for *host* and the name under which it stands there."""
    connection = _connection(host)
    return known_hosts(connection)[0], known_name(connection)


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
        connect_timeout=limits.CONNECT_TIMEOUT,
        connect_kwargs=_connect_kwargs(host),
    )
    check_keys(connection, host)
    return connection


def _chain(connection: Any) -> Iterator[Any]:
    """Yield *connection*, then the one to its jump host, and so on."""
    while isinstance(connection, Connection):
        yield connection
        connection = connection.gateway


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
    kwargs: dict[str, Any] = {
        "banner_timeout": limits.CONNECT_TIMEOUT,
        "auth_timeout": limits.DEAD_AFTER,
        "channel_timeout": limits.DEAD_AFTER,
        "transport_factory": _transport,
    }
    if host.identity:
        path = Path(host.identity).expanduser()
        if not path.is_file():
            raise ConfigurationError(f"host {host.label}: there is no key file {host.identity!r}")
        kwargs |= {"key_filename": [str(path)], "look_for_keys": False, "allow_agent": False}
    return kwargs


def _transport(sock: Any, **options: Any) -> paramiko.Transport:
    """Return paramiko's transport, which asks for what OpenSSH's client does, the fast first."""
    transport = paramiko.Transport(sock, **options)
    security = transport.get_security_options()
    security.ciphers = CIPHERS
    security.digests = MACS
    return transport


def _tune(transport: paramiko.Transport) -> None:
    """Send at once, renew keys late, and have the kernel notice a dead peer, too."""
    # When OpenSSH would, too. A channel that ends just then costs paramiko the connection.
    transport.packetizer.REKEY_BYTES = limits.REKEY_BYTES
    sock = transport.sock
    if not isinstance(sock, socket.socket):
        return  # through a jump host; the first connection has its own socket
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    third = limits.DEAD_AFTER / 3
    for option, value in (
        ("TCP_KEEPIDLE", max(1, int(third))),
        ("TCP_KEEPINTVL", max(1, int(third / 2))),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", int(2000 * third)),  # from a keepalive on, itself a third
    ):
        if hasattr(socket, option):  # not every system has every one
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _socket(connection: Any) -> socket.socket:
    return socket.create_connection((connection.host, connection.port), limits.CONNECT_TIMEOUT)


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
