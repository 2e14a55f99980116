"""Ctrl-C once and twice, SIGTERM and SIGHUP, in every stage of the whole pipeline."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.farm import Host, eventually
from tests.real import shop
from tests.real.test_shop import INSTALL

STAGES = (
    "transfer",
    "install",
    "pause",
    "backup",
    "migrate",
    "restart",
    "health-check",
    "smoke-test",
)

DEPLOY = """
from deploykit import Environment, Host, Pipeline, Secret
from deploykit.databases import Postgres
from deploykit.stages import (
    Backup, HealthCheck, Install, Migrate, Pause, Prune, Restart, SmokeTest, Transfer,
)

database = Postgres(Secret.on_host("shared/.env", "DATABASE_URL"))
production = Environment(
    Pipeline(
        app="shop",
        root="/srv/shop",
        env_file="shared/.env",
        stages=[
            Transfer(".", exclude=["deploy.py"], shared=[".env", "media/"]),
            Install({install!r}),
            Pause("shop.service"),
            Backup(database),
            Migrate(
                "alembic.ini", database, on_rollback="downgrade", command="python -m alembic"
            ),
            Restart("shop.service"),
            HealthCheck(port=8000, path="/healthz"),
            SmokeTest("http://{ip}/page"),
            Prune(),
        ],
    ),
    hosts=[
        Host({ip!r}, user="deploy", identity={identity!r}, host_key={host_key!r}, name="web")
    ],
)
"""

Run = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def server(
    module_hosts: Callable[..., list[Host]],
    wheelhouse: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Host, Path]:
    """Return a server that serves v1, and a project that is at v2."""
    host = module_hosts(1)[0]
    wheels = wheelhouse(*shop.WHEELS)
    shop.prepare(host, "postgres")
    project = tmp_path_factory.mktemp("signals") / "shop"
    for version in ("v1", "v2"):
        shop.check_out(version, project, wheels)
        (project / "deploy.py").write_text(
            DEPLOY.format(
                install=INSTALL, ip=host.ip, identity=str(host.identity), host_key=host.host_key
            )
        )
        if version == "v1":
            done = _deploykit(project, "run", "production")
            assert done.returncode == 0, done.stderr
    shop.write(host, "before every signal")
    return host, project


@pytest.fixture
def signalled(server: tuple[Host, Path]) -> Iterator[Run]:
    """Return a function that runs v2 and sends signals when a stage starts."""
    _, project = server

    def run(stage: str, *numbers: signal.Signals) -> tuple[int, list[dict[str, Any]]]:
        # --again: a person's rollback, as some tests end, rejects the content.
        words = ["--log-format", "json", "run", "production", "--again"]
        command = [sys.executable, "-m", "deploykit", *words]
        events = []
        with subprocess.Popen(
            command,
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            left = list(numbers)
            for line in process.stderr or ():
                event = json.loads(line) if line.startswith("{") else {}
                events.append(event)
                first = event.get("event") == "stage_started" and event.get("stage") == stage
                again = event.get("event") == "rollback_started"
                if left and (first if len(left) == len(numbers) else again):
                    process.send_signal(left.pop(0))
            return process.wait(timeout=120), events

    yield run
    # Whatever a test left, the next one begins with v1.
    _deploykit(project, "rollback", "production") if _unfinished(project) else None


def _deploykit(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploykit", *words],
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _unfinished(project: Path) -> bool:
    status = json.loads(_deploykit(project, "status", "production", "--json").stdout)
    return bool(status["unfinished_run"])


def _is_as_before(host: Host) -> bool:
    """Return whether v1 serves its row, with its schema."""
    return bool(
        shop.get(host, "/notes") == ["before every signal"]
        and shop.head(host, "postgres") == "0001"
        and host.root("ls -A /srv/shop/.deploykit/lock 2>/dev/null || :").stdout == ""
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stage", STAGES)
def test_one_signal_turns_the_run_back(
    server: tuple[Host, Path], signalled: Run, stage: str, number: signal.Signals
) -> None:
    """The run is undone, the exit code is 130, the lock is free, and v1 serves every row."""
    code, events = signalled(stage, number)
    assert code == 130, events[-3:]
    assert _is_as_before(server[0])


@pytest.mark.parametrize("stage", STAGES)
def test_a_second_ctrl_c_leaves_at_once(
    server: tuple[Host, Path], signalled: Run, stage: str
) -> None:
    """The exit code is 3, the run stays locked, and `rollback` finishes it."""
    host, project = server
    code, _ = signalled(stage, signal.SIGINT, signal.SIGINT)
    assert code == 3
    assert _deploykit(project, "run", "production").returncode in (4, 5)
    eventually(lambda: _deploykit(project, "rollback", "production").returncode == 0, within=60)
    assert _is_as_before(host)


def test_a_signal_after_everything_is_confirmed_changes_nothing(
    server: tuple[Host, Path], signalled: Run
) -> None:
    """Once every check has passed the run is finished, whoever presses Ctrl-C then."""
    host, project = server
    code, _ = signalled("prune", signal.SIGINT)
    assert code == 0
    assert shop.head(host, "postgres") == "0002"
    assert _deploykit(project, "rollback", "production").returncode == 0
    assert _is_as_before(host)
