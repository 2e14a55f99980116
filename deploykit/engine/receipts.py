"""A host as one unit of one run sees it: each change is done once, whoever asks how often."""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

from deploykit.command import Command, Result
from deploykit.engine.answers import Answer
from deploykit.engine.events import Events
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.session import Session, json_line, sealed
from deploykit.errors import CommandFailed, CommandTimedOut, Fenced, PlanWrote, TransportError
from deploykit.files import Files, FilesToLookAt
from deploykit.release import Manifest
from deploykit.shell import fill, quote
from deploykit.transport.upload import Earlier, upload

__all__ = ["LookOnly", "UnitHost", "command_name", "stop"]

KEEP = 1 << 20  # bytes of a command's output that its Result carries
TRIES = 3  # for a message that arrives cut
STOP_WITHIN = 20.0  # seconds that the runner may need to stop a command: TERM, 10 s, KILL


@dataclass(frozen=True)
class LookOnly:
    """A host during `plan`: anything but a query is refused."""

    session: Session

    @property
    def name(self) -> str:
        """Return the host's label."""
        return self.session.name

    @property
    def sftp(self) -> FilesToLookAt | None:
        """See `Reader.sftp`."""
        return self.session.files_to_look_at()

    def query(
        self,
        script: str,
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        check: bool = True,
    ) -> Result:
        """See `Reader.query`."""
        return self.session.query(script, env=env, timeout=timeout, check=check)

    def __getattr__(self, name: str) -> Any:
        if name in ("change", "put", "upload"):
            raise PlanWrote(f"a plan called {name}() on {self.name}; plans may only query")
        raise AttributeError(name)


@dataclass
class UnitHost:
    """
    A host during one stage's `apply` or `undo`.

    Args:
        session: the connected host.
        run: the run whose journal holds the receipts.
        epoch: issued to this controller with the lock; an older one is fenced.
        stage: the stage's name.
        direction: which way.
        attempt: of the direction; a new one makes ended commands run again.
        env: variables of every command.
        path: folders before PATH.
        events: where commands and their output are told.
        interrupts: whether somebody asked to stop.
        owed: records of this host that are to be written with the next one.
    """

    session: Session
    run: str
    epoch: int
    stage: str
    direction: Literal["apply", "undo"]
    attempt: int
    env: Mapping[str, str]
    path: tuple[str, ...]
    events: Events
    interrupts: Interrupts
    owed: list[dict[str, Any]] = field(default_factory=list)
    running: str = field(default="", init=False)
    _began: bool = field(default=False, init=False)
    _sent: list[str] = field(default_factory=list, init=False)

    @property
    def name(self) -> str:
        """Return the host's label."""
        return self.session.name

    @property
    def sftp(self) -> Files | None:
        """See `Writer.sftp`."""
        return None

    def query(
        self,
        script: str,
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        check: bool = True,
    ) -> Result:
        """See `Reader.query`."""
        return self.session.query(script, env=env, timeout=timeout, check=check)

    def change(self, command: Command, *, check: bool = True) -> Result:
        """See `Writer.change`."""
        self.interrupts.check()
        began = time.monotonic()
        for again in count():
            output = _Output(self._say)
            with self._tidied():
                answer = self._exec(command, again, output)
            if answer.word != "torn" or not command.again:
                break
            # Whatever may be left of it must not go on beside its second try.
            self._stop(self._ident(command, again))
        result = self._result(command, answer, output, time.monotonic() - began)
        self.events.tell(
            "command_ended",
            key=command.key,
            command=command.script.strip(),
            exit_code=result.exit_code,
            seconds=round(result.seconds, 3),
        )
        if check and not result.ok:
            raise CommandFailed(
                f"command {command.key!r} failed (exit {result.exit_code})",
                key=command.key,
                exit_code_of_command=result.exit_code,
                output=self.events.scrubber.text(result.output),
            )
        return result

    def put(self, content: bytes, path: str, mode: int = 0o600) -> None:
        """See `Writer.put`."""
        self._begin_files()
        # With the epoch: a controller that was fenced must not write into what we verify.
        name = hashlib.sha256(path.encode()).hexdigest()[:16]
        part = f"{self.session.layout.private}/runs/{self.run}/{name}-{self.epoch}.part"
        digest = hashlib.sha256(content).hexdigest()
        # Anew with each attempt, should the link be lost meanwhile.
        self.session.transport.insist(lambda t: t.files().write(io.BytesIO(content), part, mode))
        with self._tidied():
            answer, _ = self.session.call("settle", str(self.epoch), part, path, digest)
        if answer.word != "settled":
            raise TransportError(f"{self.name}: {path} cannot be written: {' '.join(answer)}")

    def upload(self, source: Path, manifest: Manifest, folder: str, like: str = "") -> None:
        """See `Writer.upload`."""
        self._begin_files()
        self._sent.append(f"{folder}.{self.epoch}")
        lay = self.session.layout
        upload(
            self.session,
            source,
            manifest,
            folder,
            self.epoch,
            lambda **keys: self.events.tell("upload_progress", **keys),
            self.interrupts.check,
            Earlier(lay.release(like), lay.manifest(like)) if like else None,
        )

    @contextmanager
    def _tidied(self) -> Iterator[None]:
        """Where another controller has come since, remove what was sent after it has swept."""
        try:
            yield
        except Fenced:
            for folder in self._sent:
                with suppress(TransportError):
                    self.session.query(fill("rm -rf -- {0} {0}.json {0}-*", folder), check=False)
            raise

    def _say(self, text: str) -> None:
        self.events.tell("command_output", text=text)

    def stop_running(self) -> None:
        """Stop the command that runs now, with all its children."""
        if self.running:
            self._stop(self.running)

    def _begin_files(self) -> None:
        """Record that this unit has effects, if no command of it has said so."""
        if not self._began:
            record = {**self._names("files", self.attempt), "kind": "began"}
            self.session.append(f"runs/{self.run}/journal.jsonl", [*self.owed, record], self.epoch)
            self.owed.clear()
            self._began = True

    def _stop(self, ident: str) -> None:
        stop(self.session, self.run, ident, self.epoch)

    def _names(self, key: str, attempt: int) -> dict[str, Any]:
        return {
            "run": self.run,
            "epoch": self.epoch,
            "host": self.name,
            "stage": self.stage,
            "direction": self.direction,
            "key": key,
            "attempt": attempt,
        }

    def message(self, command: Command, again: int = 0) -> str:
        """Return what the runner is given: the command's record as a comment, then its script."""
        ident = self._ident(command, again)
        names = self._names(command.key, self.attempt)
        record = json_line({**names, "id": ident, "digest": command.digest})
        older = "".join(f"#@{json_line(owed)}\n" for owed in self.owed)
        return f"#{record}\n{older}{self._payload(command)}"

    def _exec(self, command: Command, again: int, output: _Output) -> Answer:
        """Have the command run, or be told how it ended; follow its output meanwhile."""
        ident = self._ident(command, again)
        message = sealed(self.message(command, again))
        self.running = ident
        self._began = True
        try:
            for _attempt in range(TRIES):
                try:
                    answer, _ = self.session.call(
                        "exec",
                        self.run,
                        ident,
                        str(self.epoch),
                        stdin=message,
                        timeout=command.timeout,
                        on_output=output.take,
                    )
                except TimeoutError:
                    self._stop(ident)
                    raise CommandTimedOut(
                        f"command {command.key!r} took longer than {command.timeout:g} s "
                        "and was stopped",
                        key=command.key,
                        output=self.events.scrubber.text(output.text),
                    ) from None
                # A controller that is fenced may have held the command for a moment, for nothing.
                if answer.word != "cut" and list(answer) != ["never", "before"]:
                    break
            if answer.word == "ended" and "before" not in answer:  # it began with this message
                self.owed.clear()
            return answer
        finally:
            self.running = ""
            output.end()

    def _ident(self, command: Command, again: int) -> str:
        name = command_name(self.stage, self.direction, command.key)
        return f"{name}.{self.attempt}" + (f"-{again}" if again else "")

    def _payload(self, command: Command) -> str:
        lay = self.session.layout
        env = {
            **self.env,
            "DEPLOYKIT_RUN": self.run,
            "DEPLOYKIT_EPOCH": str(self.epoch),
            "DEPLOYKIT_ROOT": lay.root,
            **command.env,
        }
        path = "".join(f"{quote(folder)}:" for folder in self.path)
        return (
            self.session.prelude(env)
            + f"PATH={path}$PATH\nexport PATH\n"
            + f"cd -- {quote(lay.under(command.cwd))} || exit 72\n"
            + command.script.strip("\n")
            + "\n"
        )

    def _result(self, command: Command, answer: Answer, output: _Output, seconds: float) -> Result:
        if answer.word == "ended":
            code = int(answer[1])
            stopped = answer[2] == "stopped"
            code = (code or 143) if stopped else code
            return Result(code, output.text, "", seconds, "before" in answer)
        what = f"command {command.key!r}"
        reasons = {
            "torn": "was cut short when the host died; whether it had its effect is unknown",
            "cut": "did not arrive whole there",
            "changed": "ran before with another script; one key names one command",
            "busy": "cannot start: another command of deploykit still runs there",
            "never": "could not be started (is the disk full?)",
            "failed": "could not be started: " + " ".join(answer[1:]),
        }
        raise CommandFailed(f"{what} {reasons.get(answer.word, ' '.join(answer))}", key=command.key)


def stop(session: Session, run: str, ident: str, epoch: int) -> None:
    """
    Stop a command on a host with all its children.

    Raises:
        Fenced: another controller has taken the run over.
        TransportError: something of it cannot be stopped.
    """
    answer, _ = session.call("stop", run, ident, str(epoch), timeout=STOP_WITHIN + 30)
    if answer.word != "stopped":
        raise TransportError(
            f"{session.name}: a command of run {run} cannot be stopped ({' '.join(answer)})",
            then="look there at: ps -ef, for processes of another user that it started",
        )


def command_name(stage: str, direction: str, key: str) -> str:
    """
    Return the name of a command's files on the host: readable, and one of its own.

    With `.` and the attempt it is the command's id there; a second try of a torn one adds `-1`.
    """
    text = f"{stage}.{direction}.{key}"
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', text)[:60]}-{digest}"


class _Output:
    """
    Hands on whole lines as they come, and keeps the end of everything.

    Lines that begin with byte 1 are answers of our own scripts: for the stage, not for people.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._kept = bytearray()
        self._line = b""

    def take(self, piece: bytes) -> None:
        """Take what the host sent."""
        self._kept.extend(piece)
        if len(self._kept) > 2 * KEEP:
            del self._kept[:-KEEP]
        *lines, self._line = (self._line + piece).split(b"\n")
        for line in lines:
            self._say(line)

    def end(self) -> None:
        """Hand on a last line that had no end."""
        if self._line:
            self._say(self._line)
            self._line = b""

    def _say(self, line: bytes) -> None:
        if not line.startswith(b"\x01"):
            self._tell(line.decode(errors="replace"))

    @property
    def text(self) -> str:
        """Return the last `KEEP` bytes."""
        return bytes(self._kept[-KEEP:]).decode(errors="replace")
