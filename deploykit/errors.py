"""
Everything that can go wrong, as one tree. Each class knows its exit code.

```
DeploykitError (1)
├── ConfigurationError (2)      nothing was touched: deploy.py, options, missing files
│   ├── UnknownEnvironment      lists the known ones, suggests the nearest
│   ├── UnknownRole
│   └── SecretMissing
├── TransportError (2)          a host could not be reached or spoken to
│   ├── ConnectFailed
│   ├── AuthenticationFailed
│   ├── HostKeyRefused
│   ├── LinkLost
│   └── TransferFailed
├── LockHeld (4)                who, since when, why
│   ├── StillAtWork             its controller is there; `--takeover` takes the run from it
│   └── Fenced                  this run was taken over from us
├── Refused (5)                 a guard said no
├── CommandFailed (1)           carries the key and the last lines of its output
│   └── CommandTimedOut
├── StageFailed (1)             one stage, on one or more hosts
│   ├── CheckFailed             a health or smoke check said no
│   ├── PlanStale               the world moved between plan and apply
│   └── BackupUnusable          the dump did not verify
├── Interrupted (130)           Ctrl-C, SIGTERM or SIGHUP
├── RollbackFailed (3)          some undo failed: names each host's true state
└── JournalError (5)            unreadable, or from a stage that cannot be imported
PlanWrote(RuntimeError)         programmer's mistake: a plan tried to change a host
```
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = [
    "AuthenticationFailed",
    "BackupUnusable",
    "CheckFailed",
    "CommandFailed",
    "CommandTimedOut",
    "ConfigurationError",
    "ConnectFailed",
    "DeploykitError",
    "Fenced",
    "HostKeyRefused",
    "Interrupted",
    "JournalError",
    "LinkLost",
    "LockHeld",
    "PlanStale",
    "PlanWrote",
    "Refused",
    "RollbackFailed",
    "SecretMissing",
    "StageFailed",
    "StillAtWork",
    "TransferFailed",
    "TransportError",
    "UnknownEnvironment",
    "UnknownRole",
    "unexpected",
]


class DeploykitError(Exception):
    """
    Anything deploykit reports.

    Args:
        what: what failed and where, one line.
        state: the state the hosts are in now, one line; empty where the caller adds it.
        then: the next command to type, one line; empty where there is none.
    """

    exit_code: int = 1

    def __init__(self, what: str, *, state: str = "", then: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.state = state
        self.then = then

    def __str__(self) -> str:
        lines = [self.what, *(f"  {line}" for line in (self.state, self.then) if line)]
        return "\n".join(lines)

    def scrub(self, clean: Callable[[str], str]) -> None:
        """Take secrets out of everything that is shown; *clean* does it for one text."""
        self.what, self.state, self.then = map(clean, (self.what, self.state, self.then))
        self.args = (self.what,)


class ConfigurationError(DeploykitError):
    """Something in `deploy.py`, the options or the files it names is wrong; nothing was touched."""

    exit_code = 2


class UnknownEnvironment(ConfigurationError):
    """No environment of that name stands in `deploy.py`."""


class UnknownRole(ConfigurationError):
    """A stage names a role that no host of the environment has."""


class SecretMissing(ConfigurationError):
    """A secret could not be read where it is said to be."""


class TransportError(DeploykitError):
    """A host could not be reached or spoken to."""

    exit_code = 2


class ConnectFailed(TransportError):
    """No SSH connection could be made."""


class AuthenticationFailed(TransportError):
    """The host refused every key that was offered."""


class HostKeyRefused(TransportError):
    """The host's key is unknown, or is not the one we know."""


class LinkLost(TransportError):
    """An open connection ended before its answer came."""


class TransferFailed(TransportError):
    """A file could not be written on a host, or is not what was sent."""


class LockHeld(DeploykitError):
    """Another run holds the environment's lock."""

    exit_code = 4


class StillAtWork(LockHeld):
    """The controller of the run to be finished is there; it can be taken over."""


class Fenced(LockHeld):
    """
    A host has issued a later epoch: somebody has taken the run over, and it is theirs now.

    Args:
        host: its label.
        epoch: the one that counts there.
    """

    def __init__(self, host: str, epoch: int) -> None:
        super().__init__(
            f"{host}: this run was taken over (epoch {epoch} there)",
            state="whoever took it over decides how it ends",
        )
        self.host = host
        self.epoch = epoch


class Refused(DeploykitError):
    """A guard said no."""

    exit_code = 5


class CommandFailed(DeploykitError):
    """
    A command on a host ended with another exit code than 0.

    Args:
        what: what failed and where.
        key: the command's key in its stage; empty for a query.
        exit_code_of_command: what the command returned.
        output: the last lines of what it printed, scrubbed.
    """

    def __init__(
        self, what: str, *, key: str = "", exit_code_of_command: int = 1, output: str = ""
    ) -> None:
        super().__init__(what)
        self.key = key
        self.exit_code_of_command = exit_code_of_command
        self.output = output

    def scrub(self, clean: Callable[[str], str]) -> None:
        """See `DeploykitError.scrub`."""
        super().scrub(clean)
        self.output = clean(self.output)

    def __str__(self) -> str:
        tail = [f"  | {line}" for line in self.output.strip().splitlines()[-10:]]
        return "\n".join([super().__str__(), *tail])


class CommandTimedOut(CommandFailed):
    """A command took longer than its timeout; it and its children were stopped."""


class StageFailed(DeploykitError):
    """
    A stage could not be carried out.

    Args:
        what: what failed and where.
        state: the state the hosts are in now.
        then: the next command to type.
        stage: the stage's name.
    """

    def __init__(self, what: str, *, state: str = "", then: str = "", stage: str = "") -> None:
        super().__init__(what, state=state, then=then)
        self.stage = stage


class CheckFailed(StageFailed):
    """A health or smoke check said no."""


class PlanStale(StageFailed):
    """What a plan relied on has changed since."""


class BackupUnusable(StageFailed):
    """A backup was written but does not verify."""


class Interrupted(DeploykitError):
    """A person or the CI system asked the run to stop."""

    exit_code = 130


class RollbackFailed(DeploykitError):
    """Some undo failed; the run is stuck until `deploykit rollback` succeeds."""

    exit_code = 3


class JournalError(DeploykitError):
    """A journal cannot be read, or names a stage that cannot be imported here."""

    exit_code = 5


def unexpected(error: BaseException) -> DeploykitError:
    """Return *error*, which is none of ours, as one of ours, with the traceback behind it."""
    wrapped = DeploykitError(f"unexpected {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


class PlanWrote(RuntimeError):
    """A stage's `plan` tried to change a host: a mistake in that stage."""
