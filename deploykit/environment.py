"""An environment: a pipeline bound to its hosts; what `deploykit run production` names."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.errors import ConfigurationError, UnknownRole
from deploykit.hosts import Host
from deploykit.pipeline import Pipeline

if TYPE_CHECKING:
    from deploykit.engine.outcome import RunResult

__all__ = ["Environment"]


@dataclass(frozen=True)
class Environment:
    """
    A pipeline bound to its hosts. Its name is the name of the Python variable that holds it.

    Args:
        pipeline: what is done.
        hosts: where; the first is where backups and migrations run.
        notify: who is told of a failure or a rollback, such as `Webhook(url)`.
        shared_database: two environments may use one database; otherwise `check` refuses that.
        name: only where there is no variable to take it from.
        project: the project root; the folder of `deploy.py` unless given.
    """

    pipeline: Pipeline
    hosts: Sequence[Host] = field(kw_only=True)
    notify: Sequence[Any] = field(default=(), kw_only=True)
    shared_database: bool = field(default=False, kw_only=True)
    name: str = field(default="", kw_only=True)
    project: Path | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.hosts, Host):
            raise ConfigurationError("Environment(hosts=…): a list of hosts, even of one")
        object.__setattr__(self, "hosts", tuple(self.hosts))
        object.__setattr__(self, "notify", tuple(self.notify))
        if not self.hosts:
            raise ConfigurationError("Environment(hosts=[]): an environment needs a host")
        for label, count in Counter(host.label for host in self.hosts).items():
            if count > 1:
                raise ConfigurationError(f"two hosts are called {label!r}; give each a name=")
        self._check_roles()
        self._check_shells()

    def _check_roles(self) -> None:
        roles = {role for host in self.hosts for role in host.roles}
        for stage in self.pipeline.stages:
            role = getattr(stage, "on", None)
            if role is not None and role not in roles:
                near = get_close_matches(role, roles, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {sorted(roles)}"
                raise UnknownRole(f"stage {stage.name!r}: no host has the role {role!r}; {hint}")

    def _check_shells(self) -> None:
        for stage in self.pipeline.stages:
            hosts = self.hosts_of(getattr(stage, "on", None))
            meant = hosts[:1] if getattr(stage, "placement", "each") == "first" else hosts
            bare = next((host.label for host in meant if not host.shell), None)
            if bare is not None and getattr(stage, "needs_shell", True):
                raise ConfigurationError(
                    f"stage {stage.name!r} ({type(stage).__name__}) runs commands on {bare!r}, "
                    "which has no shell (shell=False)",
                    state="nothing was touched",
                    then="take it out, or give it on= with a role of hosts that have a shell",
                )

    def bound(self, name: str, project: Path) -> Environment:
        """Return this environment under *name*, with local paths relative to *project*."""
        return replace(self, name=self.name or name, project=self.project or project)

    def hosts_of(self, role: str | None) -> tuple[Host, ...]:
        """Return the hosts with *role*, in order; all of them for `None`."""
        return tuple(host for host in self.hosts if role is None or role in host.roles)

    def run(self, **options: Any) -> RunResult:
        """Carry out the pipeline; see `deploykit.engine.api.run` for the options."""
        from deploykit.engine import api

        return api.run(self._self_named(), **options)

    def plan(self, **options: Any) -> Any:
        """Return what a run would do, having changed nothing; see `deploykit.engine.api.plan`."""
        from deploykit.engine import api

        return api.plan(self._self_named(), **options)

    def rollback(self, release: str | None = None, **options: Any) -> RunResult:
        """Undo the newest run, or all runs down to *release*."""
        from deploykit.engine import api

        return api.rollback(self._self_named(), release, **options)

    def status(self) -> Any:
        """Measure what is running; see `deploykit.engine.api.status`."""
        from deploykit.engine import api

        return api.status(self._self_named())

    def _self_named(self) -> Environment:
        """Bind an environment used from a script to its variable there."""
        if self.name and self.project:
            return self
        modules = [sys.modules["__main__"], *list(sys.modules.values())]
        for module in modules:
            held: dict[str, object] = getattr(module, "__dict__", {})
            for name, value in list(held.items()):
                if value is self and not name.startswith("_"):
                    file = Path(str(held.get("__file__") or "deploy.py")).resolve()
                    return replace(self, name=self.name or name, project=project_root(file))
        if not self.name:
            raise ConfigurationError("this Environment is held by no variable; give it name=")
        return self.bound(self.name, Path.cwd())


def project_root(file: Path) -> Path:
    """Return the project that *file*, a `deploy.py`, belongs to."""
    folder = file.resolve().parent
    return folder.parent if folder.name == "pipelines" else folder
