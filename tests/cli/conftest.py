"""A project with a `deploy.py`, the program called in this process, and an engine made of paper."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from deploykit.engine.outcome import (
    HostStatus,
    LockOwner,
    PlannedStage,
    PlanResult,
    RunResult,
    RunSummary,
    StatusResult,
)
from deploykit.release import Ledger
from deploykit.stage import Measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deploykit.demo.server import DemoServer

DEPLOY_PY = """\
from deploykit import Environment, Host, Pipeline
from deploykit.stages import Publish, Shell, Transfer

pipeline = Pipeline(
    app="shop", root="/srv/shop", stages=[Transfer("."), Publish(), Shell("post", do="true")]
)
staging = Environment(pipeline, hosts=[Host("staging.shop.example")])
production = Environment(pipeline, hosts=[Host("shop.example"), Host("b.shop.example", name="b")])
"""
MEASURES = (
    Measure("release", "current", "r2", "r2"),
    Measure("service", "shop.service", "r2", "r2"),
    Measure("migration", "alembic", "b1", "b1"),
)
LEDGER = Ledger.of(
    [
        {"id": "r1", "content": "c1", "state": "good", "run": "r1", "by": "ann@pc", "at": "t1"},
        {"id": "r2", "content": "c2", "state": "good", "run": "r2", "by": "bob@pc", "at": "t2"},
    ]
)
OWNER = LockOwner("20261104T101512Z-0a1b2c3d", "ann@pc", "moving", "2026-11-04T10:15:12Z")


@dataclass(frozen=True)
class Ended:
    """How the program ended."""

    code: int
    out: str
    err: str


class Program(Protocol):
    """Calls the program."""

    def __call__(self, *arguments: str) -> Ended:
        """Call it with *arguments*."""


@pytest.fixture
def deploykit(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Call the program in this process, through the same `main` as a shell would."""
    from deploykit.__main__ import main

    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["deploykit", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return call


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a `deploy.py` that names two environments."""
    (tmp_path / "deploy.py").write_text(DEPLOY_PY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass
class PaperEngine:
    """
    Answers as `deploykit.engine.api` does, without any host, and notes what it was asked.

    Args:
        calls: the names of the functions called, with their options.
        events: told to the listeners of a run.
        result: what a run comes to.
        error: raised instead of answering.
        owner: who holds the lock.
    """

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    result: RunResult | None = None
    error: BaseException | None = None
    owner: LockOwner | None = None
    ok: bool = True

    def _note(self, name: str, options: dict[str, Any]) -> None:
        self.calls.append((name, options))
        for event in self.events:
            for listener in options.get("listeners", ()):
                listener(event)
        if self.error is not None:
            raise self.error

    def run(self, environment: Any, **options: Any) -> RunResult | None:
        """Stand for `api.run`."""
        self._note("run", {"environment": environment.name, **options})
        return self.result

    def resume(self, environment: Any, **options: Any) -> RunResult | None:
        """Stand for `api.resume`."""
        self._note("resume", {"environment": environment.name, **options})
        return self.result

    def rollback(
        self, environment: Any, release: str | None = None, **options: Any
    ) -> RunResult | None:
        """Stand for `api.rollback`."""
        self._note("rollback", {"environment": environment.name, "release": release, **options})
        return self.result

    def plan(self, environment: Any, **options: Any) -> PlanResult:
        """Stand for `api.plan`."""
        self._note("plan", options)
        stage = PlannedStage("publish", {"a": "plan"}, {"a": ("current -> r3",)})
        return PlanResult(environment.name, "r3", "c3", (stage,), self.owner, ("mind the gap",))

    def status(self, environment: Any, **options: Any) -> StatusResult:
        """Stand for `api.status`."""
        self._note("status", options)
        wrong = Measure("service", "shop.service", "r2", "r1")
        measures = MEASURES if self.ok else (*MEASURES, wrong)
        host = HostStatus("a", "r2", "good", measures, LEDGER)
        return StatusResult(environment.name, (host,), self.owner, "", 1, "", ("a stray",))

    def releases(self, _environment: Any) -> tuple[HostStatus, ...]:
        """Stand for `api.releases`."""
        self._note("releases", {})
        return (
            HostStatus("a", "r2", "good", (), LEDGER),
            HostStatus("b", "r2", "good", (), LEDGER),
        )

    def runs(self, _environment: Any) -> tuple[RunSummary, ...]:
        """Stand for `api.runs`."""
        self._note("runs", {})
        return (
            RunSummary("r2-0000beef", "deploy", "sealed", "r2", "bob@pc", "t2", ""),
            RunSummary("r1-0000cafe", "deploy", "rolled_back", "r1", "ann@pc", "t1", "no\nmore"),
        )

    def history(
        self, _environment: Any, run: str, *, copied: bool = False
    ) -> tuple[dict[str, Any], ...]:
        """Stand for `api.history`."""
        assert not copied
        return ({"kind": "run", "run": run, "host": "a", "at": "t2"},)

    def lock_status(self, _environment: Any) -> LockOwner | None:
        """Stand for `api.lock_status`."""
        self._note("lock_status", {})
        return self.owner

    def lock_acquire(self, _environment: Any, reason: str) -> str:
        """Stand for `api.lock_acquire`."""
        self._note("lock_acquire", {"reason": reason})
        return "manual-1"

    def lock_release(self, _environment: Any, *, force: bool = False) -> str:
        """Stand for `api.lock_release`."""
        self._note("lock_release", {"force": force})
        return OWNER.run if force else ""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, project: Path) -> PaperEngine:
    """Put an engine of paper in the place of the real one."""
    from deploykit.engine import api

    del project  # the verbs need an environment to name
    paper = PaperEngine(result=result())
    for name in vars(PaperEngine):
        if not name.startswith("_") and hasattr(api, name):
            monkeypatch.setattr(api, name, getattr(paper, name))
    return paper


def environ() -> dict[str, str]:
    """Return an environment in which another folder's Python finds the code under test."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def result(code: int = 0, **changes: Any) -> RunResult:
    """Return what a run of two measures came to."""
    values: dict[str, Any] = {
        "environment": "production",
        "run": "r2-0000beef",
        "release": "r2",
        "state": "confirmed" if code == 0 else "rolled_back",
        "exit_code": code,
        "error": None,
        "table": {"a": MEASURES},
        "seconds": 1.25,
    }
    return RunResult(**{**values, **changes})


@pytest.fixture
def vps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    """Run a real SSH server in this process, that plays a host."""
    pytest.importorskip("asyncssh", reason="the demo extra is not installed")
    from deploykit.demo.server import DemoServer

    with DemoServer(tmp_path_factory.mktemp("vps")) as server:
        yield server


@pytest.fixture
def site(vps: DemoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a project whose `production` is that host; return the pipeline's root there."""
    root = vps.identity.parent / "site"
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "index.html").write_text("hello")
    (tmp_path / "deploy.py").write_text(
        "from deploykit import Environment, Host, Pipeline\n"
        "from deploykit.stages import Publish, Transfer\n"
        f"pipeline = Pipeline(app='site', root={str(root)!r}, "
        "stages=[Transfer('source'), Publish()])\n"
        f"host = Host('127.0.0.1', name='vps', user={vps.user!r}, port={vps.port}, "
        f"identity={str(vps.identity)!r}, host_key={vps.host_key!r})\n"
        "production = Environment(pipeline, hosts=[host])\n"
    )
    monkeypatch.chdir(tmp_path)
    return root
