"""A finding of `deploykit check`: what was looked at, whether it is well, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """
    One thing that was looked at. A stage's `check(ctx)` returns any number of them.

    Args:
        severity: `problem` is what a run would fail of; `warning` what a person should know.
        what: what was looked at and found, one line.
        mend: what to type or write to mend it; empty where there is nothing to mend.
        host: the host's label; empty for this machine, or for all of an environment.
    """

    severity: Severity
    what: str
    mend: str = ""
    host: str = ""

    @classmethod
    def ok(cls, what: str, *, host: str = "") -> Finding:
        """Return that all is well with *what*."""
        return cls("ok", what, host=host)

    @classmethod
    def warning(cls, what: str, mend: str = "", *, host: str = "") -> Finding:
        """Return something that a person should know, and that stops no run."""
        return cls("warning", what, mend, host)

    @classmethod
    def problem(cls, what: str, mend: str = "", *, host: str = "") -> Finding:
        """Return something of which a run would fail."""
        return cls("problem", what, mend, host)
