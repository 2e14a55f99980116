"""The machines a pipeline works on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from deploykit.errors import ConfigurationError
from deploykit.secrets import Secret

__all__ = ["Host"]


@dataclass(frozen=True)
class Host:
    """
    One machine reached by SSH. What is not said here comes from `~/.ssh/config`.

    Args:
        address: a DNS name, an IP address or an alias of `~/.ssh/config`.
        user: who logs in and owns everything under the pipeline's root.
        port: TCP port of the SSH server.
        identity: path of a private key.
        host_key: the host's public key, as in known_hosts (`ssh-ed25519 AAAA…`); without it,
            known_hosts decides.
        jump: a host to go through, as for `ssh -J`.
        sudo: the sudo password; without it only passwordless rules are used.
        roles: words by which stages choose hosts (`on="web"`).
        name: what logs and journals call it; the address unless given.
        shell: false for a host that offers SFTP and no shell, as shared hosting does. It gets
            releases, a link and rollbacks; stages that run commands there are refused.
    """

    address: str
    user: str | None = field(default=None, kw_only=True)
    port: int | None = field(default=None, kw_only=True)
    identity: str | None = field(default=None, kw_only=True)
    host_key: str | None = field(default=None, kw_only=True)
    jump: str | None = field(default=None, kw_only=True)
    sudo: Secret | None = field(default=None, kw_only=True)
    roles: Iterable[str] = field(default=(), kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    shell: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if (
            not self.address
            or self.address.startswith("-")
            or any(c.isspace() for c in self.address)
        ):
            raise ConfigurationError(f"Host({self.address!r}): not an address")
        if isinstance(self.roles, str):
            raise ConfigurationError(
                f"Host({self.address!r}): roles is a set of words, such as {{{self.roles!r}}}"
            )
        if self.sudo is not None and not isinstance(self.sudo, Secret):
            raise ConfigurationError(
                f"Host({self.address!r}): sudo is a Secret, such as Secret.from_env('SUDO')"
            )
        object.__setattr__(self, "roles", frozenset(self.roles))

    @property
    def label(self) -> str:
        """Return the name used in logs, journals and tables."""
        if self.name:
            return self.name
        return self.address if self.port in (None, 22) else f"{self.address}:{self.port}"
