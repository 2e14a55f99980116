"""Which host keys are let pass: the pinned one, else those of known_hosts."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import paramiko

from deploykit.errors import ConfigurationError, HostKeyRefused
from deploykit.hosts import Host

__all__ = ["check_keys", "fingerprint", "known_hosts", "known_name"]


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as OpenSSH prints it."""
    return "SHA256:" + b64encode(sha256(key.asbytes()).digest()).decode().rstrip("=")


def known_hosts(connection: Any) -> list[Path]:
    """Return the user's known_hosts files for a host."""
    named = str(connection.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts"))
    return [Path(name).expanduser() for name in named.split()]


def known_name(connection: Any) -> str:
    """Return the name under which a host stands in known_hosts."""
    if connection.port == 22:
        return str(connection.host)
    return f"[{connection.host}]:{connection.port}"


def check_keys(connection: Any, host: Host) -> None:
    """
    Let only known host keys pass: the pinned one, else those of known_hosts.

    Raises:
        ConfigurationError: what is known cannot be read.
    """
    client: paramiko.SSHClient = connection.client
    client.set_missing_host_key_policy(_Unknown(host))
    if host.host_key:
        kind, key = _parse_key(host)
        client.get_host_keys().add(known_name(connection), kind, key)
        return
    for path in (Path("/etc/ssh/ssh_known_hosts"), *known_hosts(connection)):
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
