"""Services as a stage is given them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from deploykit.errors import ConfigurationError
from deploykit.services.base import Service
from deploykit.services.systemd import Systemd

__all__ = ["chosen"]


def chosen(stage: str, given: Iterable[object]) -> tuple[Service, ...]:
    """
    Return the services that a stage was *given*; a word names a systemd unit.

    Raises:
        ConfigurationError: none, something else than a service, or one twice.
    """
    services = tuple(Systemd(item) if isinstance(item, str) else item for item in given)
    for service in services:
        if isinstance(service, type) or not isinstance(service, Service):
            raise ConfigurationError(
                f"{stage}({service!r}): a unit's name, or a service such as Supervisor('worker')"
            )
    if not services:
        raise ConfigurationError(f"{stage}() names no service")
    found = tuple(service for service in services if isinstance(service, Service))
    for label, count in Counter(service.label for service in found).items():
        if count > 1:
            raise ConfigurationError(f"{stage}() names {label!r} twice")
    return found
