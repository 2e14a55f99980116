"""Reads secrets where they are said to be; values stay in memory, and are scrubbed everywhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Protocol

from dotenv import dotenv_values

from deploykit.errors import SecretMissing
from deploykit.layout import Layout
from deploykit.scrub import Scrubber
from deploykit.secrets import Secret

__all__ = ["Resolver", "read_env"]


class Readable(Protocol):
    """A host whose files can be read."""

    name: str
    layout: Layout

    def read(self, path: str) -> str | None:
        """Return a file's text, or None."""


class Resolver:
    """
    Resolves secrets for one environment.

    Args:
        environment: its name, for messages.
        project: what `from_file` paths are relative to.
        literals: values that stand in `deploy.py`, by masked form: a journal names only that.
        scrubber: learns every value.
    """

    def __init__(
        self, environment: str, project: Path, literals: Mapping[str, str], scrubber: Scrubber
    ) -> None:
        self._environment = environment
        self._project = project
        self._literals = literals
        self._scrubber = scrubber
        self._files: dict[tuple[str, str], dict[str, str]] = {}
        self._lock = threading.Lock()

    def secret(self, secret: Secret, host: Readable | None = None) -> str:
        """
        Return the value of *secret*.

        Args:
            secret: which one.
            host: where `on_host` secrets are read.

        Raises:
            SecretMissing: it is not where it should be.
        """
        read = {
            "env": self._from_env,
            "file": self._from_file,
            "literal": self._literal,
        }.get(secret.source)
        if read is not None:
            value = read(secret)
        elif host is None:
            raise SecretMissing(f"{secret} is on a host, and is needed before one is reached")
        else:
            value = self._from_host(secret, host)
        self._scrubber.learn(value)
        return value

    def env_file(self, path: str, host: Readable) -> dict[str, str]:
        """
        Return the variables of the `.env` file *path* on *host*.

        Raises:
            SecretMissing: the file is not there.
        """
        with self._lock:
            known = self._files.get((host.name, path))
        if known is None:
            text = host.read(host.layout.under(path))
            if text is None:
                raise self._no_file(path, host)
            known = self.learn_env(text, path, host.name)
        return known

    def learn_env(self, text: str, path: str, host: str) -> dict[str, str]:
        """
        Return the variables in *text*, the `.env` file *path* on *host*.

        The secret ones are scrubbed from now on, and the file is not read again.
        """
        values = read_env(text)
        for name, value in values.items():
            self._scrubber.learn_variable(name, value)
        with self._lock:
            self._files[(host, path)] = values
        return values

    def _from_env(self, secret: Secret) -> str:
        value = os.environ.get(secret.name)
        if not value:
            raise SecretMissing(
                f"the environment variable {secret.name} is not set",
                state="nothing was touched",
                then=f"set it: export {secret.name}=…  (in CI: from the project's secrets)",
            )
        return value

    def _from_file(self, secret: Secret) -> str:
        path = self._project / secret.path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SecretMissing(
                f"{path} cannot be read: {reason}", state="nothing was touched"
            ) from None
        if not secret.name:
            return text.strip()
        value = read_env(text).get(secret.name)
        if not value:
            raise SecretMissing(
                f"{path} has no variable {secret.name}", state="nothing was touched"
            )
        return value

    def _literal(self, secret: Secret) -> str:
        value = secret.value or self._literals.get(secret.name, "")
        if not value:
            raise SecretMissing(
                f"{secret.name} stood in deploy.py when the run was made, and does no more, "
                "or stands there twice with different values",
                then="put it back, or better: use Secret.on_host or Secret.from_env from now on",
            )
        return value

    def _from_host(self, secret: Secret, host: Readable) -> str:
        value = self.env_file(secret.path, host).get(secret.name)
        if not value:
            raise SecretMissing(
                f"{secret.path} on {host.name} has no variable {secret.name}",
                state="nothing was touched",
                then=self._put(secret.path),
            )
        return value

    def _no_file(self, path: str, host: Readable) -> SecretMissing:
        return SecretMissing(
            f"{host.layout.under(path)} is not on {host.name}",
            state="nothing was touched",
            then=self._put(path),
        )

    def _put(self, path: str) -> str:
        name = path.removeprefix("shared/")
        return f"write it here, then: deploykit shared put {self._environment} {name}"


def read_env(text: str) -> dict[str, str]:
    """Return the variables of a `.env` file, without interpolation."""
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if value is not None}
