"""Looks at a host: how a guardian would be started there, and what would end it."""

from __future__ import annotations

from collections.abc import Iterator

from deploykit.engine.arming import WAYS, start_words, ways
from deploykit.engine.guardian import publishes
from deploykit.engine.session import Session
from deploykit.environment import Environment
from deploykit.findings import Finding
from deploykit.services.rights import rule
from deploykit.shell import fill

__all__ = ["examine"]

LOOK = """
id -un
for dk_way in {ways}; do
  if dk_may_$dk_way; then echo $dk_way; break; fi
done
loginctl show -p KillUserProcesses --value 2>/dev/null || :
"""
RUNS = {
    "user": "as a unit of {user}'s own systemd",
    "system": "as a unit of systemd",
    "detached": "as a detached process",
}


def examine(environment: Environment, session: Session) -> Iterator[Finding]:
    """Look at the host of *session*, if a link moves there."""
    name = session.name
    stages = [stage for stage in environment.pipeline.stages if publishes(stage)]
    on = {h.label for stage in stages for h in environment.hosts_of(getattr(stage, "on", None))}
    if name not in on:
        return
    host = next(host for host in environment.hosts if host.label == name)
    if host.sudo is not None:
        yield Finding(
            "ok",
            "no guardian: sudo needs a password here, so a host cannot bring its code back itself",
            "rules of sudo without a password, instead of Host(sudo=…)",
            name,
        )
        return
    found = session.query(ways(session.layout) + fill(LOOK, ways=WAYS)).output.splitlines()
    user, way, kills = (*found, "no")[:3]
    said = f"a guardian would run {RUNS[way].format(user=user)}; a reboot ends it"
    if way != "detached":
        yield Finding.ok(said, host=name)
        return
    program, *words = start_words(session.layout, user)
    better = (
        f"as root there: loginctl enable-linger {user}; or in /etc/sudoers.d/deploykit: "
        f"{rule(user, program, words)}"
    )
    if kills == "yes":
        said += ", and so does the end of the connection (KillUserProcesses=yes)"
        yield Finding.warning(said, better, host=name)
    else:
        yield Finding("ok", said, better, name)
