"""What a host answers, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Glance", "Holding"]


@dataclass(frozen=True)
class Glance:
    """
    What a run is planned by.

    Args:
        target: what the published link contains; empty if it is not there.
        ledger: the records of the releases.
        open: runs whose journal has no end.
        env: the text of the pipeline's `env_file`; empty if it is not there.
    """

    target: str
    ledger: list[dict[str, Any]]
    open: tuple[str, ...]
    env: str


@dataclass(frozen=True)
class Holding:
    """
    Who holds a host's lock.

    Args:
        run: which.
        owner: the JSON object that he wrote.
        idle: seconds since the last heartbeat.
        here: `connected`, `starting` or `gone`: whether his connection stands.
    """

    run: str
    owner: str
    idle: float
    here: str


class Answer(tuple[str, ...]):
    """The words of a runner's answer; the first says which it is."""

    __slots__ = ()

    @property
    def word(self) -> str:
        """Return the first word."""
        return self[0]
