"""What a host prints of a service is read as it was meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploykit.layout import Layout
from deploykit.services.facts import PROCESSES, observed
from deploykit.services.facts import ground as ground_script


def run(script: str, cwd: Path | None = None) -> str:
    """Return what *script* prints."""
    done = subprocess.run(["sh"], input=script, text=True, capture_output=True, check=True, cwd=cwd)
    return done.stdout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return the layout of a root with one published release."""
    release = tmp_path / "releases" / "one"
    release.mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/one")
    return Layout(str(tmp_path))


def test_a_family_is_seen_whole(layout: Layout, tmp_path: Path) -> None:
    """A process, its children and theirs are found, with folder, program, parent and start."""
    family = "sleep 100 & sh -c 'sleep 100 & echo ready; wait' & wait"
    where = tmp_path / "current"
    with subprocess.Popen(
        ["sh", "-c", family], stdout=subprocess.PIPE, cwd=where, start_new_session=True
    ) as main:
        assert main.stdout
        assert main.stdout.readline() == b"ready\n"
        try:
            script = f"{PROCESSES}\ndk_processes {layout.root} $(dk_family {main.pid})"
            _, facts = observed(run(script))
        finally:
            os.killpg(main.pid, signal.SIGKILL)
    assert len(facts.processes) == 4
    assert {process.cwd for process in facts.processes} == {f"{layout.root}/releases/one"}
    first = next(process for process in facts.processes if process.pid == main.pid)
    assert first.parent == os.getpid()
    assert first.exe.startswith("/")
    assert all(process.start >= first.start for process in facts.processes)


def test_only_arguments_under_the_root_are_shown(layout: Layout) -> None:
    """A secret on another program's command line never leaves the host."""
    loop = "import sys, time; print(flush=True); time.sleep(100)"
    words = [sys.executable, "-c", loop, "--password=hunter2", f"--dir={layout.current}/app"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        text = run(f"{PROCESSES}\ndk_processes {layout.root} {process.pid}")
        process.kill()
    assert "hunter2" not in text
    assert observed(text)[1].processes[0].args == (f"--dir={layout.current}/app",)


def test_a_dead_process_is_left_out(layout: Layout) -> None:
    """A process that is gone, or that nobody has waited for, is not running."""
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as zombie:
        assert zombie.stdout
        zombie.stdout.read()
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert run(f"{PROCESSES}\ndk_processes {layout.root} {zombie.pid} 4194303") == ""


def test_the_same_identity_in_shell_and_here(layout: Layout) -> None:
    """What an undo compares on the host is what the plan remembers."""
    with subprocess.Popen(["sleep", "100"]) as process:
        looked = f"dk_processes {layout.root} {process.pid}\ndk_identity {process.pid}"
        text = run(f"{ground_script(layout)}\n{looked}")
        process.kill()
    _, facts = observed(text)
    seen = type(facts)(
        "active", mains=(process.pid,), processes=facts.processes, ground=facts.ground
    )
    assert text.splitlines()[-1] == seen.identity


def test_the_ground(layout: Layout, tmp_path: Path) -> None:
    """Root, boot, user and the published release are read, through a root that is a link."""
    alias = tmp_path.parent / f"{tmp_path.name}-alias"
    alias.symlink_to(tmp_path)
    _, facts = observed(run(ground_script(Layout(str(alias)))))
    assert facts.ground.roots == (str(alias), layout.root)
    assert facts.ground.link == "one"
    assert facts.ground.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.ground.moved > 0
    assert facts.ground.tick == 0


@pytest.mark.parametrize("boot", ["here", "elsewhere"])
def test_a_record_of_an_earlier_boot(boot: str) -> None:
    """After a reboot every process is younger than the publishing, whatever its tick."""
    _, facts = observed(f"boot=here\npublished=one {boot} 500\n")
    assert (facts.ground.published, facts.ground.tick) == ("one", 500 if boot == "here" else 0)
