"""A pipeline: an ordered, immutable sequence of stages for one application."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploykit.errors import ConfigurationError
from deploykit.stage import AnyStage

__all__ = ["Pipeline"]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """
    What is done, in which order, and where on the hosts.

    Args:
        app: the application's name: letters, digits, `-`, `_` and `.`.
        root: absolute path on the hosts; the deploy user owns everything under it.
        stages: carried out in this order; undone in the reverse.
        env_file: a `.env` file on the hosts, relative to *root*; its variables reach every command.
        path: folders, relative to *root* or absolute, put first on every command's PATH.
        confirm_within: seconds without a heartbeat of the controller, which beats every 5, until a
            host brings its code back by itself.
    """

    app: str
    root: str
    stages: Sequence[AnyStage]
    env_file: str | None = None
    path: Iterable[str] = ()
    confirm_within: float = 90

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.app):
            raise ConfigurationError(f"Pipeline(app={self.app!r}): letters, digits, '-', '_', '.'")
        if not self.root.startswith("/") or "\n" in self.root or self.root.strip("/") == "":
            raise ConfigurationError(
                f"Pipeline(root={self.root!r}): an absolute path below '/', "
                f"such as '/srv/{self.app}'"
            )
        if isinstance(self.path, str):
            raise ConfigurationError(f"Pipeline(path={self.path!r}): a list of folders")
        if not self.confirm_within >= 1:
            raise ConfigurationError(
                f"Pipeline(confirm_within={self.confirm_within!r}): seconds, at least 1"
            )
        object.__setattr__(self, "root", self.root.rstrip("/"))
        object.__setattr__(self, "path", tuple(self.path))
        object.__setattr__(self, "stages", _named(tuple(self.stages)))
        _check_paused(self.stages)

    @property
    def by_name(self) -> dict[str, AnyStage]:
        """Return the stages by name, in order."""
        return {stage.name: stage for stage in self.stages}


def _named(stages: tuple[AnyStage, ...]) -> tuple[AnyStage, ...]:
    """Number stages that share their class's default name; refuse shared names of one's own."""
    for stage in stages:
        if isinstance(stage, type) or not all(hasattr(stage, m) for m in ("plan", "apply", "undo")):
            raise ConfigurationError(
                f"{stage!r} is not a stage: it needs name, plan, apply and undo"
            )
        if not dataclasses.is_dataclass(stage):
            raise ConfigurationError(f"{stage!r} is not a stage: it must be a frozen dataclass")
    seen: Counter[str] = Counter()
    named = []
    for stage in stages:
        seen[stage.name] += 1
        if seen[stage.name] == 1:
            named.append(stage)
        elif _default_name(stage) == stage.name:
            fresh = f"{stage.name}-{seen[stage.name]}"
            named.append(dataclasses.replace(stage, name=fresh))  # type: ignore[type-var]  # checked above
        else:
            raise ConfigurationError(f"two stages are named {stage.name!r}; a name is unique")
    names = Counter(stage.name for stage in named)
    for name, count in names.items():
        if not re.fullmatch(r"[^\s/\0]+", name):
            raise ConfigurationError(f"{name!r} is not a stage's name: no spaces, no '/'")
        if count > 1:
            raise ConfigurationError(f"two stages are named {name!r}; a name is unique")
    return tuple(named)


def _default_name(stage: AnyStage) -> object:
    fields = {f.name: f for f in dataclasses.fields(stage)}  # type: ignore[arg-type]  # checked by the caller
    return fields["name"].default if "name" in fields else None


def _check_paused(stages: Sequence[AnyStage]) -> None:
    waiting: dict[str, str] = {}
    for stage in stages:
        for service in getattr(stage, "starts", ()):
            waiting.pop(service, None)
        for service in getattr(stage, "pauses", ()):
            waiting[service] = stage.name
    for service, stage_name in waiting.items():
        raise ConfigurationError(
            f"stage {stage_name!r} pauses {service!r}, and no later Restart names it: "
            "it would stay stopped",
            then=f"add Restart({service!r}) after it",
        )
