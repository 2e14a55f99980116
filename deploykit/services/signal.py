"""Daemons that are told by a signal to take up the new release."""

# ruff: noqa: ARG002  # every kind of service is asked in the same words

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from deploykit.errors import ConfigurationError
from deploykit.services.base import Place, Verb
from deploykit.services.facts import Facts, ground, observed
from deploykit.shell import fill
from deploykit.stage import Planning

__all__ = ["Signal"]

NOT_OURS = 91

_PID = """
dk_main=$(cat {pidfile} 2>/dev/null | tr -dc 0-9)
if [ -n "$dk_main" ] && [ ! -d "/proc/$dk_main" ]; then dk_main=; fi
"""
_LOOK = """
if [ -n "$dk_main" ]; then
  echo "main=$dk_main"
  dk_processes {root} $(dk_family "$dk_main")
fi
"""
_SEND = """
if [ -z "$dk_main" ]; then echo {absent}; exit 1; fi
kill -s {signal} "$dk_main"
"""


@dataclass(frozen=True)
class Signal:
    """
    A daemon that starts new workers when it gets a signal, such as gunicorn on HUP.

    It runs as the deploy user and is started by somebody else.

    Args:
        pidfile: where its main process has written its id, relative to the root.
        signal: the signal's name.
    """

    pidfile: str
    signal: str = "HUP"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z][A-Z0-9]*", self.signal) or self.signal.startswith("SIG"):
            raise ConfigurationError(f"Signal(…, {self.signal!r}): a name such as 'HUP' or 'USR2'")

    @property
    def label(self) -> str:
        """See `Service`."""
        return self.pidfile

    @property
    def stoppable(self) -> bool:
        """See `Service`."""
        return False

    @property
    def reloads(self) -> bool:
        """See `Service`."""
        return True

    @property
    def provable(self) -> bool:
        """See `Service`."""
        return True

    def survey(self, ctx: Planning, place: Place, verbs: AbstractSet[Verb]) -> Facts:
        """See `Service`."""
        script = self.look_script(place) + '[ -z "$dk_main" ] || kill -s 0 "$dk_main" || exit 91\n'
        found = ctx.host.query(script, check=False)
        if found.exit_code == NOT_OURS:
            raise ConfigurationError(
                f"{ctx.host.name}: the process named in {self.pidfile} belongs to another user, "
                "so we may not signal it",
                state="nothing was touched",
                then="use Systemd(unit, reload=True) or Custom(restart=…, check=…)",
            )
        return self.read(found.output)

    def look_script(self, place: Place) -> str:
        """See `Service`."""
        return ground(place.layout) + self._pid(place) + fill(_LOOK, root=place.layout.root)

    def read(self, text: str) -> Facts:
        """See `Service`."""
        values, facts = observed(text)
        mains = tuple(int(pid) for pid in values.get("main", ()))
        said = "running" if mains else f"not running: {self.pidfile} names no living process"
        return replace(facts, state="active" if mains else "stopped", said=said, mains=mains)

    def restart_script(self, place: Place) -> str:
        """See `Service`."""
        absent = f"{self.pidfile} names no living process"
        return self._pid(place) + fill(_SEND, signal=self.signal, absent=absent)

    def start_script(self, place: Place) -> str:
        """See `Service`."""
        return self.restart_script(place)

    def stop_script(self, place: Place) -> str:
        """See `Service`."""
        return self._pid(place) + 'if [ -n "$dk_main" ]; then kill -s TERM "$dk_main"; fi\n'

    def identity_script(self, place: Place) -> str:
        """See `Service`."""
        return ""  # its main process stays the same; only signalling it again is sure

    def sudo_rules(self, user: str, verbs: AbstractSet[Verb]) -> tuple[str, ...]:
        """See `Service`."""
        return ()

    def log_script(self) -> str:
        """See `Service`."""
        return ""

    def where_to_look(self) -> str:
        """See `Service`."""
        return f"ps -fp $(cat {self.pidfile})"

    def _pid(self, place: Place) -> str:
        return fill(_PID, pidfile=place.layout.under(self.pidfile))
