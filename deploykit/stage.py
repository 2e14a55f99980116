"""
The stage: the unit of plan, apply and undo, and what it is given to work with.

A stage is a frozen dataclass with a `name` and three methods; there is no base class. Its *plan* is
the dry run, the journal record and the undo's memory: one value, three uses.

The contract, which `deploykit.testing.StageContract` proves for built-in stages and for yours:

1. `plan` changes nothing.
2. A plan survives JSON: flat frozen dataclasses of str, int, float, bool, None and tuples of these.
3. `apply` twice equals once.
4. `undo` after `apply` restores.
5. `undo` after an `apply` cut at *any* command restores.
6. `undo` twice equals once.
7. No secret appears in a plan, a command's text, an event or an error.

`apply` and `undo` branch only on their plan and on what commands answered. A plan depends on the
world and on the run, never on another stage's effects.

Optional attributes and methods, found by name:

- `placement`: `"each"` (all chosen hosts in parallel, the default), `"serial"` (host by host) or
  `"first"` (the first chosen host only).
- `on`: the role that chooses its hosts; `None` or absent means all.
- `pack(ctx)`: work on the operator's machine before anything is planned (see `Packing`).
- `measure(ctx, plan, undone)`: what the end table and `status` show (see `Measure`).
- `after_confirmed`: carried out after the run is confirmed; its failure is only a warning.
- `is_check`: its failure rejects the content, so that the next push does not bring it back.
- `pauses` / `starts`: labels of the services it stops until a later stage starts them.
- `publishes`: it moves the link; going back never goes further while a host is gone. Its
  `undo_script(plan)` is the whole of its undo as shell, for the guardian.
- `undo_commands(plan)`: of a stage that pauses, the commands of its undo, for the guardian.
- `apart`: the code that ran before does not meet what it changes, so that the guardian may start
  that code again although the stage is not undone.
- `needs_shell`: false for a stage that works on a host with SFTP alone (`Host(shell=False)`), by
  `Reader.sftp` and `Writer.sftp`, or that asks nothing of the host; others are refused there.
- `migrates`: it changes a schema, so that the run stays unsealed for `undo_for`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from deploykit.command import Command, Result
from deploykit.files import Files, FilesToLookAt
from deploykit.layout import Layout
from deploykit.release import Ledger, Manifest
from deploykit.secrets import Secret

__all__ = [
    "Acting",
    "AnyStage",
    "Measure",
    "Pack",
    "Packing",
    "Placement",
    "Planning",
    "Reader",
    "RunInfo",
    "Stage",
    "Writer",
]

Placement = Literal["each", "serial", "first"]
P = TypeVar("P")


class Reader(Protocol):
    """A host that may only be looked at."""

    @property
    def name(self) -> str:
        """The host's label."""

    @property
    def sftp(self) -> FilesToLookAt | None:
        """The files of a host that has SFTP and no shell; None where there is a shell."""

    def query(
        self,
        script: str,
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        check: bool = True,
    ) -> Result:
        """
        Run a script that only looks.

        Args:
            script: POSIX shell, run in the pipeline's root (in `/` while that does not exist).
            env: variables for it; they travel on standard input.
            timeout: seconds until it is given up.
            check: raise `CommandFailed` for an exit code other than 0.

        Raises:
            CommandFailed: see *check*.
            TransportError: no answer came.
        """


class Writer(Reader, Protocol):
    """A host that may be changed."""

    @property
    def sftp(self) -> Files | None:
        """The files of a host that has SFTP and no shell; None where there is a shell."""

    def change(self, command: Command, *, check: bool = True) -> Result:
        """
        Run *command* once, whoever asks how often: an ended one is answered from its receipt.

        Raises:
            CommandFailed: an exit code other than 0, unless *check* is false.
            CommandTimedOut: it and its children were stopped.
            TransportError: the host cannot be reached; the command may be running.
        """

    def put(self, content: bytes, path: str, mode: int = 0o600) -> None:
        """Write a small file whole: temporary name, flushed, verified, renamed."""

    def upload(self, source: Path, manifest: Manifest, folder: str, like: str = "") -> None:
        """
        Bring a folder to the host, skipping what is there.

        It comes into *folder*, with a dot and the controller's epoch behind that name, and its
        manifest into a file beside it, which ends in `.json` as well.

        Args:
            source: a folder on the operator's machine.
            manifest: what to bring of it.
            folder: absolute path on the host, but for the epoch.
            like: the id of a release there, from which unchanged files are copied.

        Raises:
            TransferFailed: a file that could not be written or changed while it was sent.
        """


@dataclass(frozen=True)
class Pack:
    """
    A source tree, read once and ready to be sent.

    Args:
        source: the folder on the operator's machine.
        manifest: what of it is sent.
    """

    source: Path
    manifest: Manifest


@dataclass(frozen=True)
class RunInfo:
    """
    What is fixed about a run before anything is planned.

    Args:
        id: `20261104T101512Z-` and 8 hex digits.
        environment: its name.
        app: the pipeline's application.
        release: the id of the release it makes.
        content: the sha256 that names what is released; empty if nothing is packed.
        by: who runs it, as `user@machine`.
        commit: the source's commit, where known.
    """

    id: str
    environment: str
    app: str
    release: str
    content: str = ""
    by: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Packing:
    """
    What `pack` is given: the operator's machine before any host is asked.

    Args:
        project: the project root, where commands run.
        run: run a local command there and stream its output; raises `CommandFailed`.
        tell: log an event.
    """

    project: Path
    run: Callable[[str, Mapping[str, str]], None]
    tell: Callable[..., None]


@dataclass(frozen=True)
class Planning:
    """
    What `plan` and `measure` are given.

    Args:
        host: the host in question, to look at only.
        run: the run's fixed names.
        layout: the folders on the host.
        stages: all stages of the pipeline by name, in order.
        current: the release that `current` points to now; empty if there is none.
        ledger: the host's releases and their states.
        packs: what earlier stages packed, by stage name.
        env: what reaches every command: the pipeline's `env_file`.
        path: folders put before PATH, absolute.
        secret: read a secret; raises `SecretMissing`.
        hosts: labels of all hosts of this stage, in order.
    """

    host: Reader
    run: RunInfo
    layout: Layout
    stages: Mapping[str, AnyStage]
    current: str
    ledger: Ledger
    packs: Mapping[str, Pack]
    env: Mapping[str, str] = field(repr=False)
    path: tuple[str, ...]
    secret: Callable[[Secret], str] = field(repr=False)
    hosts: tuple[str, ...]

    @property
    def release_path(self) -> str:
        """Return the folder of the release that this run makes."""
        return self.layout.release(self.run.release)


@dataclass(frozen=True)
class Acting(Planning):
    """
    What `apply` and `undo` are given: as for planning, and the host may be changed.

    Args:
        host: the host in question.
        tell: log an event, with the run, stage and host bound to it.
        sleep: wait that many seconds; raises `Interrupted` when somebody asks to stop.
    """

    host: Writer
    tell: Callable[..., None]
    sleep: Callable[[float], None]


@dataclass(frozen=True)
class Measure:
    """
    One line of the end table: what is wanted beside what is.

    Args:
        kind: `release`, `service` or `migration`.
        name: which one.
        wanted: what the run means to leave.
        is_: what was measured.
        proven: whether the measurement proves it; false where the user wrote `unproven=True`.
    """

    kind: Literal["release", "service", "migration"]
    name: str
    wanted: str
    is_: str
    proven: bool = True

    @property
    def ok(self) -> bool:
        """Return whether what is wanted is what is."""
        return self.wanted == self.is_


class Stage(Protocol[P]):
    """Three short methods and a name; see the module for the contract."""

    @property
    def name(self) -> str:
        """Unique in the pipeline; keys plan, journal and events."""

    def plan(self, ctx: Planning) -> P:
        """Look, and return what would change and all that undoing it needs."""

    def apply(self, ctx: Acting, plan: P) -> None:
        """Do it; may be run again from the top."""

    def undo(self, ctx: Acting, plan: P) -> None:
        """Restore; may meet a half-done apply, or none."""


AnyStage = Stage[Any]
