"""Database URLs as people have them, read without ever showing one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from deploykit.errors import ConfigurationError

__all__ = ["DatabaseUrl", "Place", "parse"]

LOOPBACK = frozenset({"localhost", "::1", "ip6-localhost", "0.0.0.0"})  # noqa: S104  # compared with, not bound to


@dataclass(frozen=True)
class Place:
    """
    Which database: two are one when server, port and name agree.

    Args:
        server: a host's name or address; the host that the URL was read on where it means itself.
        port: TCP port; 0 where there is none.
        name: of the database, or the path of its file.
    """

    server: str
    port: int
    name: str

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"{self.name} on {self.server}{port}"


@dataclass(frozen=True)
class DatabaseUrl:
    """
    The parts of a URL, decoded.

    Args:
        scheme: in lower case, without the driver.
        driver: what stood after `+`; empty if nothing did.
        user: may be empty.
        password: may be empty.
        hosts: of the server, usually one; an absolute path is a unix socket or its folder.
        port: the first host's; 0 if none is given.
        name: of the database; for a file, its path.
        options: the query's variables.
    """

    scheme: str
    driver: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    hosts: tuple[str, ...] = ()
    port: int = 0
    name: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def place(self, host: str, port: int) -> Place:
        """
        Return which database this is, as seen from *host*.

        Args:
            host: label of the host that connects.
            port: the engine's own port, for a URL without one.
        """
        server = self.hosts[0] if self.hosts else ""
        socket = server.startswith(("/", "@"))
        here = not server or socket or server.lower() in LOOPBACK or server.startswith("127.")
        return Place(host if here else server.lower(), self.port or port, self.name)

    def text(self) -> str:
        """Return the URL again, with every part encoded."""
        scheme = f"{self.scheme}+{self.driver}" if self.driver else self.scheme
        user = quote(self.user, safe="")
        if self.password:
            user += f":{quote(self.password, safe='')}"
        hosts = [f"[{host}]" if ":" in host else host for host in self.hosts]
        options = dict(self.options)
        if self.hosts and self.hosts[0].startswith("/"):
            options["host" if self.scheme.startswith("postgres") else "unix_socket"] = self.hosts[0]
            hosts = []
        place = ",".join(hosts) + (f":{self.port}" if self.port else "")
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in options.items())
        netloc = f"{user}@{place}" if user else place
        return f"{scheme}://{netloc}/{quote(self.name)}" + (f"?{query}" if query else "")


def parse(text: str, schemes: Collection[str], owner: str) -> DatabaseUrl:
    """
    Read a URL.

    Args:
        text: the URL; a password with unencoded `@`, `:`, `/`, `#` or `?` is understood too.
        schemes: those that *owner* takes.
        owner: what to call the reader in an error.

    Raises:
        ConfigurationError: it is none, or has another scheme; the message does not show it.
    """
    head, mark, rest = text.strip().partition("://")
    scheme, _, driver = head.lower().partition("+")
    if not mark or scheme not in schemes:
        known = ", ".join(f"{name}://" for name in schemes)
        what = f"begins with {scheme}://" if mark and scheme.isalnum() else "is no URL"
        raise ConfigurationError(f"the database given to {owner}(…) {what}; it takes {known}")
    if scheme == "sqlite":
        return _of_file(scheme, driver, rest)
    user, authority, path, options = _split(rest)
    name, _, password = user.partition(":")
    hosts, port = _hosts(authority, owner)
    socket = options.get("unix_socket") or options.get("host", "")
    if socket:
        hosts = (socket,)
    port = port or _port(options.get("port", ""), owner)
    path = unquote(path.removeprefix("/"))
    return DatabaseUrl(scheme, driver, unquote(name), unquote(password), hosts, port, path, options)


def _of_file(scheme: str, driver: str, rest: str) -> DatabaseUrl:
    """Read a URL of a file."""
    place, _, query = rest.partition("?")
    host, _, path = place.partition("/")
    hosts = (host,) if host else ()
    return DatabaseUrl(
        scheme, driver, hosts=hosts, name=unquote(path), options=dict(parse_qsl(query))
    )


def _split(rest: str) -> tuple[str, str, str, dict[str, str]]:
    """Split what follows `://` into user, authority, path and options."""
    user, at, place = rest.rpartition("@")
    place, _, query = place.partition("?")
    if at and "/" not in place and "/" in user.partition("?")[0] and "?" in user:
        # That @ stands in the query, not before the host.
        before, _, query = rest.partition("?")
        user, _, place = before.rpartition("@")
    authority, slash, path = place.partition("/")
    return user, authority, slash + path.partition("#")[0], dict(parse_qsl(query))


def _hosts(authority: str, owner: str) -> tuple[tuple[str, ...], int]:
    """Return the hosts, and the first one's port or 0."""
    if not authority:
        return (), 0
    hosts, ports = [], []
    for one in authority.split(","):
        bare = one.rpartition("]")
        host, _, port = bare[2].partition(":") if not bare[1] else ("", "", bare[2].lstrip(":"))
        hosts.append(unquote(bare[0].lstrip("[") if bare[1] else host))
        ports.append(_port(port, owner))
    return tuple(hosts), ports[0]


def _port(text: str, owner: str) -> int:
    if text and not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise ConfigurationError(f"the database URL given to {owner}(…) has no valid port")
    return int(text or 0)
