"""Secrets are a type: they say where a value is, and never what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from deploykit.errors import ConfigurationError

__all__ = ["Secret", "mask_url"]


@dataclass(frozen=True)
class Secret:
    """
    Where a secret value is found. Make one with `from_env`, `from_file`, `on_host` or `literal`.

    The value itself is read when a verb needs it, for the environment that was named, stays in
    memory, and is scrubbed from everything that leaves the process.
    """

    source: Literal["env", "file", "host", "literal"]
    name: str = ""
    path: str = ""
    value: str = field(default="", repr=False, metadata={"journal": False})

    @classmethod
    def from_env(cls, name: str) -> Secret:
        """Read the operator's environment variable *name*."""
        return cls("env", name=_named(name))

    @classmethod
    def from_file(cls, path: str, name: str = "") -> Secret:
        """
        Read a file on the operator's machine.

        Args:
            path: relative to the project root.
            name: a variable in it, if it is a `.env` file; otherwise the whole file, stripped.
        """
        return cls("file", name=name, path=path)

    @classmethod
    def on_host(cls, path: str, name: str) -> Secret:
        """
        Read variable *name* from the `.env` file *path* on the host.

        Args:
            path: relative to the pipeline's root there.
            name: the variable; the file is read without interpolation.
        """
        return cls("host", name=_named(name), path=path)

    @classmethod
    def literal(cls, value: str) -> Secret:
        """Hold a value that stands in `deploy.py`; journals know it by its masked form only."""
        return cls("literal", name=mask_url(value), value=value)

    def __str__(self) -> str:
        where = {"env": "environment", "file": "file", "host": "host", "literal": "deploy.py"}
        words = [where[self.source], self.path, self.name]
        return f"Secret({' '.join(word for word in words if word)})"


def mask_url(text: str) -> str:
    """
    Return *text* with the password of a URL replaced, or wholly masked if it is no URL.

    The password goes to the last `@`: people forget to escape a `/` or `[` in it.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return "***"
    user, at, place = rest.rpartition("@")
    if ":" in user:
        user = f"{user.split(':', 1)[0]}:***"
    return f"{scheme}://{user}{at}{re.split('[?#]', place, maxsplit=1)[0]}"


def _named(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ConfigurationError(f"{name!r} is not the name of a variable")
    return name
