"""Applications that restart when a file is touched, as Passenger's do."""

# ruff: noqa: ARG002  # every kind of service is asked in the same words

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from deploykit.services.base import Place, Verb
from deploykit.services.facts import Facts, ground, observed
from deploykit.shell import fill
from deploykit.stage import Planning

__all__ = ["TouchFile"]


@dataclass(frozen=True)
class TouchFile:
    """
    An application that restarts, at its next request, when a file is touched.

    No process shows which release it runs: `Restart` needs `url=` or `unproven=True` with it.

    Args:
        path: the file, relative to the root.
    """

    path: str = "current/tmp/restart.txt"

    @property
    def label(self) -> str:
        """See `Service`."""
        return self.path

    @property
    def stoppable(self) -> bool:
        """See `Service`."""
        return False

    @property
    def reloads(self) -> bool:
        """See `Service`."""
        return False

    @property
    def provable(self) -> bool:
        """See `Service`."""
        return False

    def survey(self, ctx: Planning, place: Place, verbs: AbstractSet[Verb]) -> Facts:
        """See `Service`."""
        return self.read(ctx.host.query(self.look_script(place)).output)

    def look_script(self, place: Place) -> str:
        """See `Service`."""
        return ground(place.layout)

    def read(self, text: str) -> Facts:
        """See `Service`."""
        _, facts = observed(text)
        if not facts.ground.link:
            return replace(facts, said="not deployed")
        return replace(facts, state="active", said="started by its web server as needed")

    def restart_script(self, place: Place) -> str:
        """See `Service`."""
        # Not `mkdir -p`: it would make a folder of the link where there is none.
        script = '[ -d "$(dirname -- {0})" ] || mkdir -- "$(dirname -- {0})"\ntouch -- {0}\n'
        return fill(script, place.layout.under(self.path))

    def start_script(self, place: Place) -> str:
        """See `Service`."""
        return self.restart_script(place)

    def stop_script(self, place: Place) -> str:
        """See `Service`."""
        return ""  # nothing starts it where there is no release

    def identity_script(self, place: Place) -> str:
        """See `Service`."""
        return ""

    def sudo_rules(self, user: str, verbs: AbstractSet[Verb]) -> tuple[str, ...]:
        """See `Service`."""
        return ()

    def log_script(self) -> str:
        """See `Service`."""
        return ""

    def where_to_look(self) -> str:
        """See `Service`."""
        return "the web server's error log"
