"""Whether the release to go back to is still what was deployed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet, attempt_each
from deploykit.engine.journal import History

__all__ = ["tell_altered"]

FEW = 5  # files that are named


def tell_altered(fleet: Fleet, chosen: Sequence[History], events: Events) -> None:
    """
    Compare what undoing *chosen* would publish with its manifest, and tell of what differs.

    It keeps nobody from going back: what runs now is worse, or it would not have been asked for.
    But who goes back must not believe that all is as it was.

    Args:
        fleet: the hosts.
        chosen: the runs to undo, newest first.
        events: told `release_altered`.
    """
    oldest = chosen[-1]
    stages = oldest.stages()
    before = {
        host: str(plan.before)
        for (name, host), plan in oldest.plans().items()
        if getattr(stages[name], "publishes", False) and getattr(plan, "before", "")
    }
    found, _ = attempt_each(
        {
            host: partial(fleet.sessions[host].altered, release)
            for host, release in before.items()
            if host in fleet.sessions
        }
    )
    for host, files in found.items():
        if files:
            events.tell(
                "release_altered",
                host=host,
                release=before[host],
                files=files[:FEW],
                count=len(files),
            )
