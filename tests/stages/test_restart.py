"""`Restart` on this machine, with services that need no service manager."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploykit import codec
from deploykit.errors import ConfigurationError, StageFailed
from deploykit.services import Custom, Service, Signal, Supervisor, Systemd, TouchFile
from deploykit.stages.pause import Pause
from deploykit.stages.restart import Restart
from tests.farm import eventually
from tests.stages.harness import Bench

# A master that forks one worker which sits in what `current` points to, and a new one on HUP.
MASTER = """
import os, signal, sys

def start():
    worker = os.fork()
    if worker == 0:
        os.chdir(sys.argv[1])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP, signal.SIGTERM])
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.execvp("sleep", ["sleep", "1000"])
    return worker

worker = start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGTERM])
print("ready", flush=True)
while True:
    asked = signal.sigwait([signal.SIGHUP, signal.SIGTERM])
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    if asked == signal.SIGTERM:
        break
    worker = start()
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return this machine as a host, with the run's release in place."""
    bench = Bench(tmp_path / "shop")
    release(bench)
    return bench


def release(bench: Bench) -> str:
    """Put the run's release in place, and return its id."""
    Path(bench.layout.release(bench.run.release), "tmp").mkdir(parents=True)
    return bench.run.release


@pytest.fixture
def daemon(bench: Bench) -> Iterator[int]:
    """Publish a first release, and start a master with one worker in it."""
    current = Path(bench.layout.current)
    current.symlink_to(f"releases/{bench.run.release}")
    bench.new_run()
    release(bench)
    with subprocess.Popen(
        [sys.executable, "-c", MASTER, str(current)], stdout=subprocess.PIPE
    ) as master:
        assert master.stdout
        assert master.stdout.readline() == b"ready\n"
        (bench.root / "app.pid").write_text(f"{master.pid}\n")
        eventually(lambda: workers(master.pid))
        yield master.pid
        master.send_signal(signal.SIGTERM)


def workers(master: int) -> list[str]:
    """Return the folders that the master's workers sit in, once they are what they will be."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    folders = [Path(f"/proc/{pid}/cwd").readlink().name for pid in children]
    sleeping = all(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in children)
    return folders if sleeping else []


def test_a_signal_brings_new_workers_and_the_old_ones_back(bench: Bench, daemon: int) -> None:
    """Restart is proved by the new worker's folder; undo brings a worker of the old release."""
    stage = Restart(Signal("app.pid"), within=5)
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    assert workers(daemon) == [plan.release]
    assert all(m.ok and m.proven for m in stage.measure(bench.planning(), plan, undone=False))
    bench.undo(stage, plan)
    assert workers(daemon) == [plan.before]
    assert all(m.ok and m.proven for m in stage.measure(bench.planning(), plan, undone=True))


def test_a_daemon_that_ignores_the_signal(bench: Bench, daemon: int) -> None:
    """A worker of the release before is not the new one, however long one waits."""
    stage = Restart(Signal("app.pid", "CONT"), within=0.2)
    plan = stage.plan(bench.planning())
    with pytest.raises(StageFailed, match=f"runs release {plan.before}"):
        bench.apply(stage, plan)
    assert workers(daemon) == [plan.before]


def test_a_daemon_that_is_not_there(bench: Bench) -> None:
    """A pidfile that names nobody fails the stage, and its undo removes the link."""
    stage = Restart(Signal("app.pid"), within=0.2)
    plan = stage.plan(bench.planning())
    with pytest.raises(StageFailed, match="names no living process"):
        bench.apply(stage, plan)
    bench.undo(stage, plan)
    assert not Path(bench.layout.current).is_symlink()


def test_a_custom_service(bench: Bench) -> None:
    """Its commands get the release's id and folder, and its check is the proof, both ways."""
    restart = 'basename "$DEPLOYKIT_RELEASE_PATH" >> ran; echo "$DEPLOYKIT_RELEASE" > runs'
    custom = Custom(restart=restart, check='[ "$(cat runs)" = "$DEPLOYKIT_RELEASE" ]', name="app")
    stage = Restart(custom, within=0.2)
    first = stage.plan(bench.planning())
    assert first.active == (False,)
    bench.apply(stage, first)
    bench.new_run()
    release(bench)
    plan = stage.plan(bench.planning())
    assert plan.active == (True,)
    bench.apply(stage, plan)
    bench.apply(stage, plan)
    bench.undo(stage, plan)
    ran = (bench.root / "ran").read_text().split()
    assert ran == [first.release, plan.release, first.release]
    assert all(m.ok for m in stage.measure(bench.planning(), plan, undone=True))


def test_a_custom_service_that_does_not_come_up(bench: Bench) -> None:
    """A check that never says yes fails the stage."""
    stage = Restart(Custom(restart="true", check="false", name="app"), within=0.2)
    with pytest.raises(StageFailed, match="app on bench does not run release"):
        bench.apply(stage, stage.plan(bench.planning()))


def test_a_custom_service_that_fails_to_restart(bench: Bench) -> None:
    """The exit code of the restart is in the error, and other services' undo still runs."""
    broken = Custom(restart="exit 9", check="true", name="broken")
    stage = Restart(broken, Custom(restart="touch second", check="true", name="second"))
    bench_plan = stage.plan(bench.planning())
    with pytest.raises(StageFailed, match=r"restart failed \(exit 9\)"):
        bench.apply(stage, bench_plan)
    again = dataclasses.replace(bench_plan, before=bench_plan.release, active=(True, True))
    with pytest.raises(StageFailed, match="could not be undone"):
        bench.undo(stage, again)
    assert (bench.root / "second").exists()


def test_a_touched_file(bench: Bench) -> None:
    """It is touched in the new release, and in the old one on the way back."""
    stage = Restart(TouchFile(), unproven=True, within=0.2)
    first = stage.plan(bench.planning())
    bench.apply(stage, first)
    bench.new_run()
    release(bench)
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    touched = Path(bench.layout.release(first.release), "tmp", "restart.txt")
    os.utime(touched, (0, 0))
    service = stage.measure(bench.planning(), plan, undone=False)[1]
    assert (service.ok, service.proven) == (True, False)
    bench.undo(stage, plan)
    assert touched.stat().st_mtime > 0


def test_a_touched_file_on_a_first_deploy(bench: Bench) -> None:
    """Undo leaves no folder where the link was."""
    stage = Restart(TouchFile(), unproven=True, within=0.2)
    plan = stage.plan(bench.planning())
    bench.apply(stage, plan)
    bench.undo(stage, plan)
    assert not Path(bench.layout.current).exists()


def test_what_cannot_be_proved_is_refused() -> None:
    """A touched file shows nothing: a page, or a word, must vouch for it."""
    with pytest.raises(ConfigurationError, match="unproven=True"):
        Restart(TouchFile())
    assert Restart(TouchFile(), url="http://127.0.0.1/version").url


def test_no_service_at_all() -> None:
    """A restart of nothing is refused where it is written."""
    with pytest.raises(ConfigurationError, match="names no service"):
        Restart()


def test_the_plan_says_what_happens(bench: Bench) -> None:
    """Publish, start what is stopped, restart what runs."""
    up = Custom(restart="true", check="true", name="up")
    stage = Restart(up, Custom(restart="true", check="false", name="down"))
    Path(bench.layout.current).symlink_to(f"releases/{bench.run.release}")
    lines = stage.plan(bench.planning()).describe()
    assert lines[1:] == ("restart up", "start down (not running now)")


def test_paused_services_are_known_by_the_stages_before(tmp_path: Path) -> None:
    """Only a pause that comes before, and that no other restart ended, makes it a start."""
    custom = Custom(restart="true", check="true", stop="true", name="app")
    pause = Pause(custom)
    first, second = Restart(custom), Restart(custom, name="again")
    bench = Bench(tmp_path / "shop", stages=(pause, first, second))
    assert first.plan(bench.planning()).paused == (True,)
    assert second.plan(bench.planning()).paused == (False,)


EVERY_KIND = (
    "shop.service",
    Systemd("web.service", user=True, reload=True),
    Supervisor("worker", config="/etc/s.conf"),
    Signal("app.pid", "USR2"),
    TouchFile("current/touched"),
    Custom(restart="a", check="b", stop="c", start="d", name="e"),
)


def test_the_stage_survives_the_journal() -> None:
    """A stage with each kind of service comes back equal, and can be renamed."""
    stage = Restart(*EVERY_KIND, unproven=True, within=3, url="http://x/", on="web", name="r")
    assert codec.decode(json.loads(json.dumps(codec.encode(stage)))) == stage
    renamed = dataclasses.replace(stage, name="restart-2")
    assert (renamed.name, renamed.services) == ("restart-2", stage.services)
    assert stage.starts[:2] == ("shop.service", "web.service")
    assert hash(stage) == hash(dataclasses.replace(stage))


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("target", ["releases/one", ""])
def test_the_undo_is_the_plans_alone(
    bench: Bench, active: bool, target: str, tmp_path: Path
) -> None:
    """The script needs nothing but stage and plan, and is shell that every `sh` can read."""
    services: tuple[str | Service, ...] = EVERY_KIND
    stage = Restart(*services, unproven=True)
    from deploykit.stages.restart import RestartPlan

    plan = RestartPlan(
        root=str(bench.root),
        run=bench.run.id,
        release="two",
        before="one" if target else "",
        target=target,
        services=stage.starts,
        active=(active,) * 6,
        paused=(False,) * 6,
        was=("boot 7:1001",) * 6,
    )
    script = tmp_path / "undo.sh"
    script.write_text(stage.undo_script(plan))
    subprocess.run(["sh", "-n", script], check=True)
    assert stage.undo_script(plan) == stage.undo_script(dataclasses.replace(plan))
