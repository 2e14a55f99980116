"""Follows what services print, on several hosts at once, line by line."""

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit.errors import ConfigurationError, DeploykitError
from deploykit.shell import fill

if TYPE_CHECKING:
    from deploykit.engine.session import Session
    from deploykit.environment import Environment

__all__ = ["Source", "follow", "sources"]

# Who is in none of these groups sees only messages of their own, and no error says so.
JOURNAL = """
set -- journalctl -q --no-pager -o short-iso -n {lines} {more}
case " $(id -nG) " in
*" root "*|*" systemd-journal "*|*" adm "*|*" wheel "*) exec "$@" ;;
esac
if may_root "$@"; then as_root "$@"; else
  dk_user=$(id -un)
  echo "$dk_user may not read the whole journal: usermod -aG systemd-journal $dk_user" >&2
  exec "$@"
fi
"""
OWN_JOURNAL = """
: "${{XDG_RUNTIME_DIR:=/run/user/$(id -u)}}"; export XDG_RUNTIME_DIR
exec journalctl --user -q --no-pager -o short-iso -n {lines} {more}
"""


@dataclass(frozen=True)
class Source:
    """
    Something that prints, on a host.

    Args:
        label: what to call it.
        script: what prints it; empty where no command does.
        elsewhere: where a person looks instead, if it cannot be followed.
    """

    label: str
    script: str
    elsewhere: str = ""


def sources(
    environment: "Environment", units: tuple[str, ...], *, lines: int, following: bool
) -> tuple[Source, ...]:
    """
    Return what is to be followed: *units*, else the services that the pipeline restarts.

    Raises:
        ConfigurationError: it restarts none.
    """
    if units:
        return (_journal(units, own=False, lines=lines, following=following),)
    services = [s for stage in environment.pipeline.stages for s in getattr(stage, "services", ())]
    found = {getattr(service, "label", service): service for service in services}
    if not found:
        raise ConfigurationError(
            f"no stage of {environment.name} restarts a service",
            then=f"name a unit: deploykit logs {environment.name} --unit UNIT",
        )
    named = list(found.values())
    system = tuple(_unit(s) for s in named if _unit(s) and not getattr(s, "user", False))
    own = tuple(_unit(s) for s in named if _unit(s) and getattr(s, "user", False))
    journals = [
        _journal(group, own=mine, lines=lines, following=following)
        for group, mine in ((system, False), (own, True))
        if group
    ]
    others = [Source(s.label, s.log_script(), s.where_to_look()) for s in named if not _unit(s)]
    return (*journals, *others)


def follow(environment: "Environment", wanted: Iterable[Source]) -> int:
    """
    Print all of *wanted* from every host, until each ends or Ctrl-C; return the exit code.

    Lines carry their host's label where there are several hosts.
    """
    from deploykit.engine.events import Events
    from deploykit.engine.fleet import reached

    events = Events().bind(environment=environment.name)
    with reached(environment, events) as fleet:
        _learn_secrets(environment, fleet.sessions.values(), fleet.resolver.env_file)
        several = len(fleet.sessions) > 1
        failures: list[str] = []
        threads = []
        for session in fleet.sessions.values():
            mark = f"{session.name}: " if several else ""
            for source in wanted:
                lines = _Lines(mark, events.scrubber.text)
                work = threading.Thread(
                    target=_print, args=(session, source, lines, failures), daemon=True
                )
                work.start()
                threads.append(work)
        for thread in threads:
            thread.join()
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    return 1 if failures else 0


class _Lines:
    """Prints whole lines, each in one piece, however they arrive."""

    _out = threading.Lock()

    def __init__(self, mark: str, scrub: Callable[[str], str]) -> None:
        self._mark = mark
        self._scrub = scrub
        self._rest = b""

    def __call__(self, piece: bytes) -> None:
        """Take what the host sent."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        self.write(whole)

    def write(self, lines: Iterable[bytes]) -> None:
        """Print *lines* at once."""
        from deploykit.report.clean import visible

        texts = (visible(self._scrub(line.decode(errors="replace"))) for line in lines)
        with self._out:
            sys.stdout.write("".join(f"{self._mark}{text}\n" for text in texts))
            sys.stdout.flush()

    def close(self) -> None:
        """Print what came without an end of line."""
        if self._rest:
            self.write([self._rest])
        self._rest = b""


def _print(session: "Session", source: Source, lines: _Lines, failures: list[str]) -> None:
    if source.elsewhere:
        lines.write([f"{source.label}: to read on, on the host: {source.elsewhere}".encode()])
    if not source.script:
        return
    try:
        code, said = _stream(session, source.script, lines)
    except DeploykitError as error:
        failures.append(error.what)
        return
    finally:
        lines.close()
    if said.strip():
        sys.stderr.write(f"{session.name}: {said.strip()}\n")
    if code:
        failures.append(f"{session.name}: {source.label} cannot be read (exit {code})")


def _stream(session: "Session", script: str, lines: _Lines) -> tuple[int, str]:
    """Run *script* to its end; return its exit code and what it said on standard error."""
    from deploykit.engine.session import EVAL

    text = f"{session.prelude(None)}{script}"
    # Not through the retrying transport: what was printed would be printed again.
    done = session.transport.open().execute(EVAL, text.encode(), on_output=lines)
    return done.exit_code, done.stderr.decode(errors="replace")


def _learn_secrets(
    environment: "Environment",
    sessions: Iterable["Session"],
    env_file: Callable[[str, "Session"], object],
) -> None:
    """Read each host's env_file, so that its secrets are scrubbed from what is printed."""
    path = environment.pipeline.env_file
    if path is None:
        return
    for session in sessions:
        try:
            env_file(path, session)
        except DeploykitError as error:
            sys.stderr.write(f"warning: {error.what}; its secrets are not scrubbed\n")


def _unit(service: object) -> str:
    """Return the systemd unit that *service* is; empty if it is none."""
    return service if isinstance(service, str) else str(getattr(service, "unit", ""))


def _journal(units: tuple[str, ...], *, own: bool, lines: int, following: bool) -> Source:
    more = [word for unit in units for word in ("-u", unit)] + (["-f"] if following else [])
    script = fill(OWN_JOURNAL if own else JOURNAL, lines=lines, more=more)
    return Source(", ".join(units), script)
