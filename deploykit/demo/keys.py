"""The two key pairs of a demo: the server's own, and that of the one who logs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DemoKeys"]

KIND = "ssh-ed25519"


@dataclass(frozen=True)
class DemoKeys:
    """
    New keys for one demo.

    Args:
        host: the server's key pair.
        login: the key pair that it admits.
        identity: the file that holds the private half of *login*.
    """

    host: asyncssh.SSHKey
    login: asyncssh.SSHKey
    identity: Path

    @classmethod
    def generate(cls, directory: Path) -> DemoKeys:
        """Generate both pairs, and keep the login's in *directory*."""
        host, login = asyncssh.generate_private_key(KIND), asyncssh.generate_private_key(KIND)
        identity = directory / "id_ed25519"
        identity.touch(mode=0o600)
        login.write_private_key(identity)
        return cls(host, login, identity)

    @property
    def host_key(self) -> str:
        """The server's public key, as it stands in known_hosts: `ssh-ed25519 AAAA…`."""
        return self.host.export_public_key().decode().strip()
