"""Connections to the hosts of the test bed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from deploykit import Host as Target
from deploykit.engine.session import Session
from deploykit.layout import Layout
from deploykit.scrub import Scrubber
from deploykit.transport import ssh
from deploykit.transport.retrying import RetryingTransport
from tests.farm import Host

__all__ = ["connected", "retrying", "session", "target"]


def target(host: Host, **options: Any) -> Target:
    """Return the deploykit host for a host of the test bed."""
    known = {"host_key": host.host_key, "identity": str(host.identity), "user": "deploy"}
    address = options.pop("address", host.ip)
    return Target(address, **{**known, "name": host.name, **options})


@contextmanager
def connected(aim: Target) -> Iterator[ssh.SSHTransport]:
    """Give one connection."""
    transport = ssh.connect(aim)
    try:
        yield transport
    finally:
        transport.close()


@contextmanager
def retrying(
    host: Host,
    tell: Callable[..., None] = lambda _event, **_keys: None,
    aim: Target | None = None,
) -> Iterator[RetryingTransport]:
    """Give a connection that comes back when it is lost."""
    transport = RetryingTransport(lambda: ssh.connect(aim or target(host)), tell)
    try:
        yield transport
    finally:
        transport.close()


@contextmanager
def session(host: Host, root: str = "/srv/shop", aim: Target | None = None) -> Iterator[Session]:
    """Give a host as the engine sees it, reached by itself or by *aim*."""
    with retrying(host, aim=aim) as transport:
        yield Session(host.name, transport, Layout(root), Scrubber())
