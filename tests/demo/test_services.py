"""The service manager of the demo's host, and a release of the scheduler that it runs."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from deploykit.demo.host import DemoHost
from deploykit.demo.leftovers import find_processes
from deploykit.demo.scheduler import check_out, dotenv, programs
from deploykit.demo.services import DemoServices
from tests.demo.site import free_port, post_fields
from tests.farm.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEPER = "[program:sleeper]\ncommand=sleep 1000\nautostart=false\nstartsecs=0\n"


@pytest.fixture
def host(tmp_path: Path) -> DemoHost:
    """Prepare a host."""
    host = DemoHost(tmp_path)
    host.prepare()
    return host


@pytest.fixture
def running(host: DemoHost) -> Iterator[DemoServices]:
    """Run supervisord with one program that it does not start by itself."""
    with DemoServices(host, SLEEPER) as services:
        yield services


def on(host: DemoHost, script: str) -> str:
    """Run *script* in the environment of a login on *host*; return what it printed."""
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=host.home,
        env=host.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_supervisorctl_needs_no_options(host: DemoHost, running: DemoServices) -> None:
    """On the host `supervisorctl` finds its supervisord, as on a real one."""
    assert on(host, "supervisorctl status").split()[:2] == ["sleeper", "STOPPED"]
    assert on(host, "supervisorctl start sleeper") == "sleeper: started\n"
    assert on(host, "supervisorctl status").split()[:2] == ["sleeper", "RUNNING"]


def test_service_ends_with_supervisord(host: DemoHost) -> None:
    """Closing stops the services, and leaves no process and no socket."""
    with DemoServices(host, SLEEPER) as services:
        on(host, "supervisorctl start sleeper")
        assert len(find_processes(host.mark)) == 2
    assert find_processes(host.mark) == []
    assert not host.supervisor_socket.exists()
    services.close()


def test_mistake_in_a_program_is_told(host: DemoHost) -> None:
    """A supervisord that does not start says why."""
    with pytest.raises(RuntimeError, match="does not specify a command"):
        DemoServices(host, "[program:broken]\n").start()
    assert find_processes(host.mark) == []


def test_folder_may_have_an_odd_name(tmp_path: Path) -> None:
    """Blanks and percent signs in the folder's name do no harm."""
    odd = tmp_path / "100% a folder"
    odd.mkdir()
    host = DemoHost(odd)
    host.prepare()
    with DemoServices(host, SLEEPER):
        assert on(host, "supervisorctl start sleeper") == "sleeper: started\n"


def test_scheduler_runs_as_services(host: DemoHost) -> None:
    """A release that is laid out by hand runs: website, worker, and both below `current`."""
    port = free_port()
    release = host.root / "releases" / "r1"
    (host.root / "shared").mkdir(parents=True)
    (host.root / "shared" / ".env").write_text(dotenv(host, port))
    check_out("v1", release)
    (release / ".env").symlink_to(host.root / "shared" / ".env")
    on(host, f"cd {release} && set -a && . ./.env && alembic upgrade head")
    (host.root / "current").symlink_to("releases/r1")
    with (
        DemoServices(host, programs(host)),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        assert "started" in on(host, "supervisorctl start scheduler-web scheduler-worker")
        eventually(lambda: client.get("/healthz").is_success, failing=httpx.TransportError)
        assert client.get("/healthz").json()["release"] == "r1"
        client.post("/accounts", data={"name": "Flowers"})
        client.post("/posts", data=post_fields("v1", "Now", due="2001-01-31T09:00"))
        eventually(lambda: client.get("/export.json").json()[0]["published_at"])
        for name in ("scheduler-web", "scheduler-worker"):
            pid = on(host, f"supervisorctl pid {name}").strip()
            assert os.path.realpath(f"/proc/{pid}/cwd") == str(release)
    assert find_processes(host.mark) == []
