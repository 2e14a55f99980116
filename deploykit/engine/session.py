"""One host of the run: queries, runner calls and records, over one connection."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploykit.command import Result
from deploykit.engine import journal, looks
from deploykit.engine.answers import Answer, Glance, Holding
from deploykit.errors import CommandFailed, DeploykitError, Fenced, LinkLost, TransportError
from deploykit.files import FilesToLookAt
from deploykit.host import script as host_script
from deploykit.layout import Layout
from deploykit.scrub import Scrubber
from deploykit.shell import fill, quote
from deploykit.transport.base import Completed, Held
from deploykit.transport.boot import MARK
from deploykit.transport.retrying import RetryingTransport

__all__ = ["ENDED_KINDS", "EVAL", "Session", "json_line", "sealed"]

EVAL = 'eval "$(cat)" </dev/null'  # the script on standard input, which itself has no input
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ENDED_KINDS = ("confirmed", "rolled_back")  # of the records with which a run has its end
SUMS = 600.0  # seconds that a host may need to read a release
RUNNER_CALL = 120.0  # seconds for a runner call that waits for no command

AS_ROOT = """
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif [ -n "${dk_sudo:-}" ]; then printf '%s\\n' "$dk_sudo" | sudo -k -S -p '' -- "$@"
  else sudo -n -- "$@"; fi
}
may_root() { # COMMAND...: 0 if as_root may run exactly that, 1 if not, 2 if the password is wrong
  if [ "$(id -u)" = 0 ]; then return 0; fi
  if [ -n "${dk_sudo:-}" ]; then
    printf '%s\\n' "$dk_sudo" | sudo -k -S -p '' -v >/dev/null 2>&1 || return 2
    printf '%s\\n' "$dk_sudo" | sudo -S -p '' -l -- "$@" >/dev/null 2>&1 || return 1
  else sudo -n -l -- "$@" >/dev/null 2>&1 || return 1; fi
}
"""


class Session:
    """A connected host, the pipeline's root on it, and our scripts there."""

    shell = True  # whether it has one

    def __init__(
        self,
        name: str,
        transport: RetryingTransport,
        layout: Layout,
        scrubber: Scrubber,
        sudo: Callable[[], str] | None = None,
    ) -> None:
        self.name = name
        self.transport = transport
        self.layout = layout
        self._scrubber = scrubber
        self._sudo = sudo

    # -- looking -----------------------------------------------------------------------------

    def query(
        self,
        script: str,
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        check: bool = True,
    ) -> Result:
        """See `Reader.query`."""
        began = time.monotonic()
        text = f"cd -- {quote(self.layout.root)} 2>/dev/null || cd /\n{self.prelude(env)}{script}\n"
        try:
            done = self._begun(self.transport.execute(EVAL, text.encode(), timeout=timeout))
        except TimeoutError as error:
            raise LinkLost(f"{self.name} did not answer a query within {timeout:g} s") from error
        result = Result(
            done.exit_code,
            done.stdout.decode(errors="replace"),
            self._scrubber.text(done.stderr.decode(errors="replace")),
            time.monotonic() - began,
        )
        if check and not result.ok:
            raise CommandFailed(
                f"a query on {self.name} failed (exit {result.exit_code})",
                exit_code_of_command=result.exit_code,
                output=result.errors or self._scrubber.text(result.output),
            )
        return result

    def prelude(self, env: Mapping[str, str] | None) -> str:
        """Return shell lines that export *env* and define `as_root`, for standard input only."""
        exports = "".join(
            f"export {name}={quote(value)}\n"
            for name, value in (env or {}).items()
            if NAME.fullmatch(name)  # no shell can export the others, such as `spring.port`
        )
        sudo = f"dk_sudo={quote(self._sudo())}\n" if self._sudo else ""
        return exports + sudo + AS_ROOT

    def read(self, path: str) -> str | None:
        """Return the text of *path*, or None if it is not there."""
        result = self.query(fill("[ -e {0} ] || exit 44; cat -- {0}", path), check=False)
        if result.exit_code == 44:
            return None
        if not result.ok:
            raise CommandFailed(
                f"{path} on {self.name} cannot be read",
                exit_code_of_command=result.exit_code,
                output=result.errors,
            )
        return result.output

    def records(self, path: str) -> list[dict[str, Any]]:
        """Return the records in *path*, skipping torn lines."""
        return journal.parse(self.read(path) or "")

    def names(self, folder: str) -> list[str]:
        """Return the names in *folder*; none where it is not there."""
        return self.query(fill(looks.NAMES, folder)).output.split("\n")[:-1]

    def journals(self) -> list[dict[str, Any]]:
        """Return the records of all runs."""
        return journal.parse(
            self.query(fill(looks.JOURNALS, self.layout.private), timeout=120).output
        )

    def glance(self, link: str, env_file: str) -> Glance:
        """
        Look at what a run is planned by, in one query.

        Args:
            link: absolute path of the link that is published.
            env_file: absolute path of the pipeline's variables; may be empty.
        """
        lay, ended = self.layout, f'"kind":"({"|".join(ENDED_KINDS)})"'
        script = fill(looks.WORLD, link=link, ledger=lay.ledger, runs=lay.runs, ended=ended)
        if env_file:
            script += fill("cat {0} 2>/dev/null || :\n", env_file)
        answers = (*self.query(script).output.split("\0"), "", "", "")[:4]
        target, ledger, runs, env = answers
        left_open = tuple(line.partition("/")[0] for line in runs.split())
        return Glance(target.removesuffix("\n"), journal.parse(ledger), left_open, env)

    def altered(self, release: str) -> list[str]:
        """Return the files of a release that are gone, or not what its manifest says."""
        lay = self.layout
        script = fill(looks.ALTERED, release=lay.release(release), manifest=lay.manifest(release))
        said = self.query(script, timeout=SUMS).output.split("\n")[:-1]
        return [line.rpartition(": ")[0].removeprefix("./") for line in said]

    def epoch(self) -> int:
        """Return what the host issued last; 0 before the first."""
        return int(self.read(f"{self.layout.private}/epoch") or 0)

    def holding(self) -> Holding | None:
        """Return who holds the lock, or None; also where deploykit never was."""
        found = self.query(looks.TAKEN + fill(looks.HOLDING, self.layout.private)).output
        if not found:
            return None
        run, owner, idle, here = found.split("\0")[:4]
        return Holding(run, owner, float(idle), here)

    def busy(self) -> bool:
        """Return whether the command runs that began last."""
        return self.query(looks.TAKEN + fill("busy {}", self.layout.private), check=False).ok

    def files_to_look_at(self) -> FilesToLookAt | None:
        """Return the files of a host that has no shell; None of one that has."""
        return None

    # -- the lock ------------------------------------------------------------------------------

    def lock(self, run: str, least: int, seen: str, owner: str) -> Answer:
        """
        Ask for the lock, with an epoch of at least *least*.

        Args:
            run: who wants it.
            least: the least epoch.
            seen: the epoch that must be the host's; `below`: less than *least*; `-`: any.
            owner: a JSON object that tells of the owner, and differs from all others.

        Returns:
            `locked` and the epoch, or `held`.

        Raises:
            Fenced: the epoch is not the one that was seen.
        """
        return self.call("lock", run, str(least), seen, stdin=sealed(owner))[0]

    def unlock(self, run: str, epoch: str) -> Answer:
        """
        Free the lock if *run* holds it: `unlocked`, or `notmine`.

        Args:
            run: whose lock it is.
            epoch: of the controller; `-` frees by force, and fences whoever it was.

        Raises:
            Fenced: another epoch was issued since.
        """
        return self.call("unlock", run, epoch)[0]

    def stand(self, run: str, epoch: int) -> Held:
        """Show the host that the controller of *run* is there, for as long as it beats."""
        return self.transport.hold(self.runner_command("hold", run, str(epoch)))

    # -- changing deploykit's own files --------------------------------------------------------

    def prepare(self) -> None:
        """
        Make the root and deploykit's folder on the host, and put the runner there.

        Raises:
            TransportError: no right to write there, or a tool is missing.
        """
        text = host_script("runner.sh")
        lay = self.layout
        done = self.query(
            fill(_PREPARE, root=lay.root, dk=lay.private, runner=self.runner, text=text),
            check=False,
        )
        if done.exit_code in _PREPARE_FAILURES:
            what, then = _PREPARE_FAILURES[done.exit_code]
            raise TransportError(
                f"{self.name}: {what.format(root=lay.root)}",
                state="nothing was touched",
                then=then.format(root=lay.root, user="$USER"),
            )
        if not done.ok:
            raise TransportError(
                f"{self.name}: {lay.private} cannot be prepared: {done.errors.strip()}",
                state="nothing was touched",
            )

    def call(
        self,
        verb: str,
        *arguments: str,
        stdin: bytes = b"",
        timeout: float | None = RUNNER_CALL,
        on_output: Callable[[bytes], None] | None = None,
    ) -> tuple[Answer, bytes]:
        """
        Ask the runner on the host.

        Returns:
            Its answer, and what it printed (empty where *on_output* took it).

        Raises:
            TransportError: it gave no answer.
        """
        command = self.runner_command(verb, *arguments)
        while True:
            done = self.transport.execute(command, stdin, timeout=timeout, on_output=on_output)
            answer = self._answer(verb, self._begun(done))
            if answer.word != "unprepared":
                return answer, done.stdout
            self.prepare()  # raises if the runner cannot be put there

    def append(self, file: str, records: Sequence[Mapping[str, Any]], epoch: int) -> None:
        """Do what `append_to` does, for one file."""
        self.append_to({file: records}, epoch)

    def append_to(self, files: Mapping[str, Sequence[Mapping[str, Any]]], epoch: int) -> None:
        """
        Append records to *files*, relative to `.deploykit`, in order, each flushed before the next.

        A record of kind `back` may use the room that was reserved for going back.

        Raises:
            Fenced: the host has issued a later epoch than *epoch*.
            TransportError: they could not be written.
        """
        texts = ["".join(json_line(record) + "\n" for record in own) for own in files.values()]
        back = any(record.get("kind") == "back" for own in files.values() for record in own)
        words = (f"{epoch}-" if back else str(epoch), *files)
        answer, _ = self.call("append", *words, stdin=sealed("@\n".join(texts)))
        if answer.word != "appended":
            raise TransportError(
                f"{self.name}: {', '.join(files)} cannot be written: {' '.join(answer)}"
            )

    def runner_command(self, verb: str, *arguments: str) -> str:
        """Return the line of shell that starts the runner, or says that it is not there yet."""
        return fill(
            "[ -e {0} ] || exec printf '\\001deploykit unprepared\\n' >&2; exec sh {0} {1}",
            self.runner,
            [self.layout.root, verb, *arguments],
        )

    @property
    def runner(self) -> str:
        """The path of our runner there, which its contents name."""
        digest = hashlib.sha256(host_script("runner.sh").encode()).hexdigest()[:16]
        return f"{self.layout.private}/bin/runner-{digest}.sh"

    def _begun(self, done: Completed) -> Completed:
        """
        Return *done*.

        Raises:
            TransportError: something else than a shell has answered.
        """
        if done.begun:
            return done
        said = (done.stdout + done.stderr).decode(errors="replace").strip().split("\n")[0]
        raise TransportError(
            f"{self.name} gives no shell: {self._scrubber.text(said) or 'it says nothing'}",
            then="if it offers SFTP alone, say so in deploy.py: Host(shell=False)",
        )

    def _answer(self, verb: str, done: Completed) -> Answer:
        lines = [line for line in done.stderr.split(b"\n") if line.startswith(MARK)]
        if lines:
            words = lines[-1][len(MARK) :].decode(errors="replace").split()
            if words[:1] == ["fenced"]:
                raise Fenced(self.name, int(words[1]))
            if words:
                return Answer(words)
        said = self._scrubber.text(done.stderr.decode(errors="replace").strip())
        raise TransportError(f"{self.name}: the runner did not answer {verb}: {said or 'nothing'}")


def json_line(record: Mapping[str, Any]) -> str:
    """Return *record* as the runner takes it: one line."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def sealed(text: str) -> bytes:
    """
    Return *text* under its sha256, so that the host notices a message that was cut.

    It ends in one newline, as what a shell has read from it and writes again does.
    """
    body = text.rstrip("\n").encode() + b"\n"
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


# Exit codes say which step failed; no error text is ever matched.
_PREPARE = """
umask 077
if [ ! -d {root} ]; then
  mkdir -p -- {root} 2>/dev/null || exit 41
  chmod 755 -- {root}
fi
[ -w {root} ] || exit 42
for tool in awk sha256sum; do command -v $tool >/dev/null || exit 43; done
mkdir -p -- {dk}/bin {dk}/runs {dk}/manifests || exit 45
[ -e {runner} ] && exit 0
printf %s {text} >{runner}.$$ || exit 45
sync {runner}.$$ 2>/dev/null || sync
mv -f -- {runner}.$$ {runner} || exit 45
sync {dk}/bin 2>/dev/null || sync
"""
_PREPARE_FAILURES: dict[int, tuple[str, str]] = {
    41: ("no right to make {root}", "as root there: install -d -o DEPLOY_USER {root}"),
    42: ("no right to write in {root}", "as root there: chown DEPLOY_USER {root}"),
    43: ("awk or sha256sum is missing", "as root there: apt-get install mawk coreutils"),
    45: ("{root}/.deploykit cannot be written (disk full?)", "look at: df -h {root}"),
}


def lost(error: DeploykitError) -> bool:
    """Return whether *error* means that the host's state is unknown."""
    return isinstance(error, LinkLost)
