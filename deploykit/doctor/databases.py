"""Two environments must not use one database, unless somebody wrote that they may."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from deploykit.doctor.planning import planning_of, scene_of
from deploykit.engine.events import Events
from deploykit.engine.fleet import reached
from deploykit.environment import Environment
from deploykit.errors import DeploykitError
from deploykit.findings import Finding
from deploykit.stage import AnyStage, Planning

__all__ = ["Used", "compare"]


@dataclass(frozen=True)
class Used:
    """
    A database that a stage works on.

    Args:
        server: its host; the address of the host that asks where the URL means itself.
        port: TCP port; 0 where there is none.
        name: of the database, or the path of its file.
        stage: which stage uses it first.
    """

    server: str
    port: int
    name: str
    stage: str = field(compare=False)

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"{self.name} on {self.server}{port}"

    @classmethod
    def of(cls, stage: AnyStage, ctx: Planning, environment: Environment) -> set[Used]:
        """Return the database of *stage*, if it has one and its secret can be read."""
        database: Any = getattr(stage, "database", None)
        if not hasattr(database, "resolve"):
            return set()
        # By address: two environments may call the same machine by two names.
        addresses = {host.label: host.address for host in environment.hosts}
        try:
            place = database.resolve(ctx.secret, ctx.layout, addresses[ctx.host.name]).place
        except DeploykitError:
            return set()  # planning the stage says so, with how to mend it
        return {cls(place.server, place.port, place.name, stage.name)}


def compare(
    environment: Environment, used: set[Used], others: Iterable[Environment]
) -> Iterator[Finding]:
    """Compare the databases of *environment*, which are *used*, with those of the *others*."""
    if not used:
        return
    for other in others:
        try:
            theirs = _used_by(other)
        except DeploykitError as error:
            yield Finding.warning(
                f"whether {other.name} uses the same database cannot be told: {error.what}",
                error.then,
            )
            continue
        same = used & theirs
        for database in sorted(same, key=str):
            yield _shared(environment, other, database)
        if theirs and not same:
            yield Finding.ok(f"{other.name} uses another database")


def _shared(environment: Environment, other: Environment, database: Used) -> Finding:
    what = f"{environment.name} and {other.name} use one database: {database}"
    if environment.shared_database and other.shared_database:
        return Finding.ok(f"{what}, and say so")
    return Finding.problem(
        what,
        "give each its own; if that is meant, write shared_database=True in both environments",
    )


def _used_by(environment: Environment) -> set[Used]:
    """Connect to the first host of each stage that has a database, and ask which it is."""
    stages = [s for s in environment.pipeline.stages if hasattr(s, "database")]
    if not stages:
        return set()
    events = Events().bind(environment=environment.name)
    firsts = {environment.hosts_of(getattr(stage, "on", None))[0].label for stage in stages}
    left_out = [host.label for host in environment.hosts if host.label not in firsts]
    with reached(environment, events, without=left_out) as fleet:
        scene = scene_of(fleet, {}, events)
        contexts = {stage: planning_of(scene, stage) for stage in stages}
        return {
            used
            for stage, found in contexts.items()
            for ctx in found[:1]
            for used in Used.of(stage, ctx, environment)
        }
