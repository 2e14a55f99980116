"""Commands as values: what is to be run on a host, and what came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Command", "Result"]

HOUR = 3600.0


@dataclass(frozen=True)
class Command:
    """
    A change to a host, named so that it is done once.

    Args:
        key: unique within its stage and direction; with run, host, stage and attempt it is the
            command's identity. Never a position: an edited pipeline must not confuse a resume.
        script: POSIX shell, run by `sh -e`. Build it with `deploykit.shell.fill`.
        env: variables for this command alone; secrets belong here, never in *script*.
        cwd: where it runs, relative to the pipeline's root; the root itself by default.
        timeout: seconds until it is stopped, with all its children.
        again: it may be run again if the host died while it ran.
    """

    key: str
    script: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    timeout: float = HOUR
    again: bool = False

    @property
    def digest(self) -> str:
        """Return what the receipt compares: script and folder, without environment and secrets."""
        text = json.dumps([self.script, self.cwd], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """
    What a query or a change answered.

    Args:
        exit_code: of the command; 128 + N where signal N ended it.
        output: standard output of a query; both streams of a change, the last MiB.
        errors: standard error of a query.
        seconds: how long it took, as seen from here.
        before: of a change: it had begun before it was asked for, and is not done again.
    """

    exit_code: int
    output: str
    errors: str = ""
    seconds: float = 0.0
    before: bool = False

    @property
    def ok(self) -> bool:
        """Return whether the exit code was 0."""
        return self.exit_code == 0
