"""The contexts in which stages are asked: as for a run that is never made."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.scene import Scene, look
from deploykit.stage import AnyStage, Pack, Planning, RunInfo

__all__ = ["planning_of", "scene_of"]

CHECK = "check"  # stands for the ids of the run and the release that are not made


def scene_of(fleet: Fleet, packs: Mapping[str, Pack], events: Events) -> Scene:
    """Return the scene of a run that is never made."""
    environment = fleet.environment
    return Scene(
        fleet=fleet,
        run=RunInfo(CHECK, environment.name, environment.pipeline.app, CHECK),
        epoch=0,
        stages=environment.pipeline.by_name,
        packs=packs,
        worlds=look(fleet, need_env=False),
        events=events,
        interrupts=Interrupts(),
    )


def planning_of(scene: Scene, stage: AnyStage) -> tuple[Planning, ...]:
    """Return what *stage* is given on each of its hosts that is connected."""
    environment = scene.fleet.environment
    labels = tuple(host.label for host in environment.hosts_of(getattr(stage, "on", None)))
    if getattr(stage, "placement", "each") == "first":
        labels = labels[:1]
    connected = (label for label in labels if label in scene.fleet.sessions)
    return tuple(scene.planning(label, labels) for label in connected)
