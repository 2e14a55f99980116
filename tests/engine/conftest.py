"""An environment on this machine, without SSH: a real shell, a real runner, one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploykit import Environment, Host, Pipeline
from deploykit.engine import api
from deploykit.engine.events import Event, Events
from deploykit.engine.fleet import Fleet
from deploykit.engine.journal import History
from deploykit.engine.outcome import RunResult
from deploykit.engine.status import all_runs
from deploykit.stage import AnyStage

# Runs an environment of a deploy.py and kills itself, as the machine's power cut would, in the
# middle of telling the N-th event of a name.
CONTROLLER = """
import os, sys
from pathlib import Path
from deploykit.engine import api
from deploykit.loader import load, pick
verb, event, number = sys.argv[1:]
seen = 0
def listen(told):
    global seen
    seen += told["event"] == event
    if told["event"] == event and seen == int(number):
        os.kill(os.getpid(), 9)
result = getattr(api, verb)(pick(load(Path("deploy.py")), "production"), listeners=[listen])
sys.exit(result.exit_code if result else 0)
"""
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Site:
    """One application on this machine: `root` is what a host would have, `project` the source."""

    root: Path
    project: Path
    told: list[Event] = field(default_factory=list)

    def environment(self, *stages: AnyStage, **options: Any) -> Environment:
        """Return an environment of *stages*."""
        pipeline = Pipeline(app="shop", root=str(self.root), stages=stages, **options)
        return Environment(
            pipeline, hosts=[Host("local:", name="one")], name="production", project=self.project
        )

    def run(self, *stages: AnyStage, **options: Any) -> RunResult:
        """Run *stages*, and keep what was told."""
        return api.run(self.environment(*stages, **options), listeners=[self.told.append])

    def declare(self, stages: str) -> Environment:
        """Write a `deploy.py` with *stages*, Python text, and return its environment."""
        (self.project / "deploy.py").write_text(
            "from deploykit import Environment, Host, Pipeline\n"
            "from deploykit.stages import *\n"
            f"stages = [{stages}]\n"
            f"pipeline = Pipeline(app='shop', root={str(self.root)!r}, stages=stages)\n"
            "production = Environment(pipeline, hosts=[Host('local:', name='one')])\n"
        )
        from deploykit.loader import load

        return load(self.project / "deploy.py")["production"]

    def killed(self, verb: str, event: str, number: int = 1) -> None:
        """Let another process do *verb*, and die at the *number*-th event of that name."""
        done = self.controller(verb, event, str(number)).wait(60)
        assert done == -signal.SIGKILL, f"it never told {event} {number} times, and ended {done}"

    def controller(self, *words: str) -> subprocess.Popen[bytes]:
        """Start another process that does what *words* say."""
        return subprocess.Popen(
            [sys.executable, "-c", CONTROLLER, *words],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL,
        )

    def events(self, name: str) -> list[Event]:
        """Return the events of *name* that were told."""
        return [event for event in self.told if event["event"] == name]

    def look(self, look: Callable[[Fleet], Any]) -> Any:
        """Return what *look* sees."""
        with api.connected(self.environment()) as fleet:
            return look(fleet)

    @property
    def histories(self) -> Sequence[History]:
        """The runs, newest first."""
        found: Sequence[History] = self.look(all_runs)
        return found

    def is_locked(self) -> bool:
        """Return whether somebody holds the lock."""
        return api.lock_status(self.environment()) is not None

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file below the root; none if it is not there."""
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an application without a past; its root has a name that needs quoting."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "app").mkdir()
    (project / "app" / "main.py").write_text("print('hello')\n")
    return Site(tmp_path / 'it\'s the "root"', project)


@pytest.fixture
def events() -> Events:
    """Return a stream that nobody listens to."""
    return Events()
