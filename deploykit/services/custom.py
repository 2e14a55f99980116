"""Services under whatever the user's own commands control."""

# ruff: noqa: ARG002  # every kind of service is asked in the same words

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from deploykit.errors import ConfigurationError
from deploykit.services.base import Place, Verb
from deploykit.services.facts import Facts, ground, observed
from deploykit.shell import fill
from deploykit.stage import Planning

__all__ = ["Custom"]

_IN_RELEASE = """
DEPLOYKIT_RELEASE={release} DEPLOYKIT_RELEASE_PATH={path}
export DEPLOYKIT_RELEASE DEPLOYKIT_RELEASE_PATH
cd -- {root}
"""
_CHECK = "if sh -ec {check} >/dev/null 2>&1; then echo checked=yes; else echo checked=no; fi\n"


@dataclass(frozen=True, kw_only=True)
class Custom:
    """
    A service that commands of your own control.

    They are shell, run in the pipeline's root with `DEPLOYKIT_RELEASE` (the id of the release that
    the service is to run) and `DEPLOYKIT_RELEASE_PATH` (its folder) set.

    Args:
        restart: makes the service run that release, whether it runs now or not.
        check: exits with 0 when that release runs: this is the proof. It must only look.
        stop: stops it. Without it the service cannot be paused, and undoing a first deploy leaves
            it as it is.
        start: starts it; *restart* unless given.
        name: what it is called; the restart command unless given.
    """

    restart: str
    check: str
    stop: str | None = None
    start: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.restart.strip() or not self.check.strip():
            raise ConfigurationError("Custom(restart=…, check=…): both are commands")

    @property
    def label(self) -> str:
        """See `Service`."""
        return self.name or self.restart.strip().splitlines()[0]

    @property
    def stoppable(self) -> bool:
        """See `Service`."""
        return self.stop is not None

    @property
    def reloads(self) -> bool:
        """See `Service`."""
        return False

    @property
    def provable(self) -> bool:
        """See `Service`."""
        return True

    def survey(self, ctx: Planning, place: Place, verbs: AbstractSet[Verb]) -> Facts:
        """See `Service`."""
        return self.read(ctx.host.query(self.look_script(place), env=ctx.env).output)

    def look_script(self, place: Place) -> str:
        """See `Service`."""
        if not place.release:  # a check cannot tell of a release that is not there
            return ground(place.layout)
        return ground(place.layout) + self._in(place, _CHECK, check=self.check)

    def read(self, text: str) -> Facts:
        """See `Service`."""
        values, facts = observed(text)
        if "checked" not in values:
            return replace(facts, state="stopped", said="not deployed")
        if values["checked"] == ["yes"]:
            return replace(facts, state="active", said="running", checked=True)
        # It may be starting, be down, or run another release: its check cannot tell which.
        return replace(facts, state="starting", said="not running, says its check", checked=False)

    def restart_script(self, place: Place) -> str:
        """See `Service`."""
        return self._in(place, "sh -ec {command}\n", command=self.restart)

    def start_script(self, place: Place) -> str:
        """See `Service`."""
        return self._in(place, "sh -ec {command}\n", command=self.start or self.restart)

    def stop_script(self, place: Place) -> str:
        """See `Service`."""
        return self._in(place, "sh -ec {command}\n", command=self.stop) if self.stop else ""

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
        return self.check

    def _in(self, place: Place, script: str, **words: object) -> str:
        path = place.layout.release(place.release) if place.release else ""
        root = place.layout.root
        where = fill(_IN_RELEASE, release=place.release, path=path, root=root)
        return where + fill(script, **words)
