"""`guardian.sh` as a program, beside the runner that it calls; its time is made by the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploykit.engine.session import sealed
from deploykit.host import script
from tests.farm import eventually
from tests.host.test_runner import RUN, Runner, path_without, sha256
from tests.processes import running

WITHIN = 90
ENDLESS = 1 << 30
# Only what the guardian itself sleeps makes its time go on: by `step` seconds, at once, and not
# beyond `until`.
SLEEP = """#!/bin/sh
[ "$1" = 1 ] || exec {sleep} "$1"
{sleep} 0.01
read -r up <{time}/up
while read -r until <{time}/until && [ "$up" -ge "$until" ]; do {sleep} 0.01; done
read -r step <{time}/step
echo $((up + step)) >{time}/up.$$
mv {time}/up.$$ {time}/up
"""


@dataclass
class Guarded:
    """A run that holds the lock, and a guardian for it."""

    runner: Runner
    time: Path
    program: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def arm(self, does: str = "back", token: str = "1") -> subprocess.Popen[bytes]:
        """Start a guardian."""
        kind = {"back": "back", "leave": "needs_rollback"}[does]
        record = {"kind": kind, "run": RUN, "host": "h", "reason": "silence", "by": "guardian"}
        lines = [
            f"{WITHIN} {token} {does}",
            str(self.runner.program),
            self.runner.path,
            json.dumps(record, separators=(",", ":")),
        ]
        self.file("guardian.new").write_text("\n".join(lines) + "\n")
        process = subprocess.Popen([*self.runner.shell, self.program, self.runner.root])
        self.started.append(process)
        eventually(lambda: not self.file("guardian.new").exists())
        return process

    def payload(self, text: str, number: int = 0, stage: str = "restart") -> None:
        """Give it a command, as the controller writes it."""
        record = {"run": RUN, "epoch": 0, "host": "h", "stage": stage, "direction": "undo"}
        record |= {"key": "undo-restart", "attempt": 0, "id": f"{stage}.undo.undo-restart.0"}
        record |= {"digest": sha256(text)}
        line = json.dumps(record, separators=(",", ":"))
        exports = "export DEPLOYKIT_EPOCH=0\nexport SECRET=hunter2\n"
        name = f"undo-restart.sh{f'.{number:02}' if number else ''}"
        self.file(name).write_text(f"#{line}\n{exports}{text}\n")

    def began(self, stage: str = "restart", kind: str = "began") -> None:
        """Record that the controller has begun to apply *stage*."""
        record = {"run": RUN, "stage": stage, "direction": "apply", "key": "x", "kind": kind}
        assert self.runner.append(json.dumps(record, separators=(",", ":")) + "\n") == ["appended"]

    @contextmanager
    def controller(self, text: str, stage: str, direction: str, key: str) -> Iterator[None]:
        """Let the controller have a command carried out, and wait until that has begun."""
        ident = f"{stage}.{direction}.{key}.1"
        record = {"run": RUN, "stage": stage, "direction": direction, "key": key, "attempt": 1}
        line = json.dumps({**record, "id": ident, "digest": sha256(text)}, separators=(",", ":"))
        began = len(self.records("began"))
        with self.runner.start("exec", RUN, ident, str(self.runner.epoch)) as process:
            assert process.stdin
            process.stdin.write(sealed(f"#{line}\n{text}\n"))
            process.stdin.close()
            eventually(lambda: len(self.records("began")) > began)
            os.utime(self.runner.private("lock/heartbeat"), (1000, 1000))
            try:
                yield
            finally:
                self.runner.stop(ident)
            process.wait(60)

    def file(self, name: str) -> Path:
        """Return a file of the run."""
        return self.runner.private(f"runs/{RUN}/{name}")

    def pass_time(self, seconds: int) -> None:
        """Let so much of its time go by, and no more."""
        end = self.up + seconds
        self.run_on(end)
        eventually(lambda: self.up >= end, within=60)

    def run_on(self, until: int = ENDLESS) -> None:
        """Let its time go on by itself; 0 stops it."""
        (self.time / "until.new").write_text(f"{until}\n")
        (self.time / "until.new").replace(self.time / "until")

    @property
    def up(self) -> int:
        """The time that it sees."""
        return int((self.time / "up").read_text())

    @property
    def log(self) -> list[str]:
        """What its commands have written."""
        log = self.runner.root / "log"
        return log.read_text().splitlines() if log.exists() else []

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of *kind*."""
        return [record for record in self.runner.journal if record["kind"] == kind]

    def beat(self) -> None:
        """Let the controller give a sign of life."""
        now = time.time()
        os.utime(self.runner.private("lock/heartbeat"), (now, now))


@pytest.fixture(params=["dash", "bash", "busybox", "without flock and setsid"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guarded]:
    """Return a run whose controller was last heard of long ago."""
    root = tmp_path / 'it\'s a "root" $HOME'
    (root / ".deploykit" / "runs" / RUN).mkdir(parents=True)
    clock, bins = tmp_path / "time", tmp_path / "bins"
    clock.mkdir()
    bins.mkdir()
    (clock / "up").write_text("1000\n")
    (clock / "step").write_text("1\n")
    (clock / "until").write_text(f"{ENDLESS}\n")
    (bins / "sleep").write_text(SLEEP.format(sleep=shutil.which("sleep"), time=clock))
    (bins / "sleep").chmod(0o755)
    runner = Runner(root, root / ".deploykit" / "runner.sh")
    runner.program.write_text(script("runner.sh"))
    program = root / ".deploykit" / "guardian.sh"
    program.write_text(script("guardian.sh").replace("/proc/uptime", str(clock / "up")))
    if request.param == "bash":
        runner.shell = ("/bin/bash", "--posix")
    elif request.param == "busybox":
        runner.shell = ("/bin/busybox", "sh")
    elif request.param == "without flock and setsid":
        runner.path = str(path_without(tmp_path / "bin", "flock", "setsid"))
    assert runner.lock() == ["locked", "1", "new"]
    runner.append('{"kind":"run"}\n')
    runner.path = f"{bins}:{runner.path}"
    os.utime(runner.private("lock/heartbeat"), (1000, 1000))
    made = Guarded(runner, clock, program)
    yield made
    made.run_on()  # so that no sleep of it is left
    for process in made.started:
        process.kill()
        process.wait()


def ended(guarded: Guarded, process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a guardian, and see that nothing is left of it."""
    assert process.wait(60) == 0
    left = [path.name for path in guarded.file("").iterdir()]
    assert not [name for name in left if name.startswith(("guardian", "undo"))], left
    assert not list(guarded.file("output").glob("*.in.*"))


def test_it_brings_the_code_back(guarded: Guarded) -> None:
    """After the silence: the run goes back, and the undo has a receipt of the next epoch."""
    guarded.payload(f"cd {guarded.runner.at} && echo $DEPLOYKIT_EPOCH $SECRET >>log")
    guarded.began()
    ended(guarded, guarded.arm())
    assert guarded.log == ["2 hunter2"]
    assert guarded.up >= 1000 + WITHIN
    (back,) = guarded.records("back")
    assert (back["epoch"], back["by"], back["reason"]) == (2, "guardian", "silence")
    (receipt,) = guarded.records("ended")
    assert (receipt["id"], receipt["rc"]) == ("restart.undo.undo-restart.1", 0)
    assert (receipt["epoch"], receipt["attempt"]) == (2, 1)
    texts = [path.read_bytes() for path in guarded.runner.root.rglob("*") if path.is_file()]
    assert not [text for text in texts if b"SECRET=hunter2" in text]


def test_a_heartbeat_keeps_it_quiet(guarded: Guarded) -> None:
    """Any change of it is a sign of life, whatever a clock that was set back or forward says."""
    guarded.run_on(0)
    guarded.arm()
    for stamp in (2_000_000_000, 500, 1_700_000_000, 0):
        guarded.pass_time(WITHIN - 20)
        os.utime(guarded.runner.private("lock/heartbeat"), (stamp, stamp))
    guarded.pass_time(WITHIN - 20)
    assert guarded.runner.epoch == 1
    guarded.run_on()
    eventually(lambda: guarded.runner.epoch == 2)


def test_a_host_that_stood_still_gives_the_controller_its_time(guarded: Guarded) -> None:
    """Frozen or suspended for hours: it counts anew, three times at most."""
    guarded.run_on(0)
    guarded.arm()
    for _ in range(3):
        guarded.pass_time(WITHIN - 30)
        (guarded.time / "step").write_text("7200\n")
        guarded.pass_time(7200)
        (guarded.time / "step").write_text("1\n")
    guarded.pass_time(WITHIN - 30)
    assert guarded.runner.epoch == 1
    guarded.run_on()
    eventually(lambda: guarded.runner.epoch == 2)


def test_a_host_that_is_slow_does_not_stand_still(guarded: Guarded) -> None:
    """Every second of sleep takes ten: it fires all the same."""
    (guarded.time / "step").write_text("10\n")
    process = guarded.arm()
    assert process.wait(60) == 0
    assert guarded.runner.epoch == 2


@pytest.mark.parametrize("how", ["confirmed", "rolled_back", "unlocked", "gone", "another's"])
def test_it_ends_when_there_is_nothing_to_guard(guarded: Guarded, how: str) -> None:
    """Within a second or two of its time, with all that is its own."""
    guarded.payload("true")
    guarded.run_on(0)
    process = guarded.arm()
    guarded.pass_time(5)
    assert process.poll() is None
    before = guarded.up
    guarded.run_on()
    if how in ("confirmed", "rolled_back"):
        guarded.began(kind=how)
    elif how == "gone":
        shutil.rmtree(guarded.file(""))
    else:
        assert guarded.runner.call("unlock", RUN, "1")[0] == ["unlocked"]
        assert how == "unlocked" or guarded.runner.lock("other")[2] == "new"
    assert process.wait(60) == 0
    assert guarded.up <= before + WITHIN / 2
    if how == "gone":
        assert not guarded.file("").exists()
    else:
        ended(guarded, process)


def test_one_that_is_armed_anew_takes_its_place(guarded: Guarded) -> None:
    """The one before ends, and leaves the newer one's commands alone."""
    guarded.payload("true")
    guarded.run_on(0)
    old = guarded.arm()
    new = guarded.arm(token="2")
    guarded.pass_time(5)
    assert old.wait(60) == 0
    assert new.poll() is None
    assert guarded.file("undo-restart.sh").exists()


def test_it_is_there_once(guarded: Guarded) -> None:
    """A second process for one arming has nothing to do."""
    guarded.arm()
    second = subprocess.Popen([*guarded.runner.shell, guarded.program, guarded.runner.root])
    assert second.wait(60) == 0


def test_what_still_runs_is_stopped_first(guarded: Guarded) -> None:
    """With all its children; then the undo has the host for itself."""
    guarded.payload(f"cd {guarded.runner.at} && echo undone >>log")
    with guarded.controller("sleep 733 & sleep 733", "restart", "apply", "restart"):
        eventually(lambda: len(running("sleep 733")) >= 2)
        ended(guarded, guarded.arm())
    assert guarded.log == ["undone"]
    assert running("sleep 733") == []


@pytest.mark.parametrize("when", ["before", "during"])
def test_an_undo_of_the_controller_is_not_repeated(guarded: Guarded, when: str) -> None:
    """It was done, or is being done, under the same id."""
    go = guarded.runner.root / "go"
    undo = f"cd {guarded.runner.at}; until [ -e go ]; do {shutil.which('sleep')} 0.05; done\n"
    undo += "echo undone >>log"
    guarded.payload(undo)
    guarded.began()
    guarded.runner.append('{"kind":"back"}\n')
    with guarded.controller(undo, "restart", "undo", "undo-restart"):
        if when == "before":
            go.touch()
            eventually(lambda: guarded.records("ended"))
            os.utime(guarded.runner.private("lock/heartbeat"), (1000, 1000))
        process = guarded.arm()
        eventually(lambda: guarded.records("fired"))
        go.touch()
        ended(guarded, process)
    assert guarded.log == ["undone"]
    assert [record["rc"] for record in guarded.records("ended")] == [0]


def test_what_never_began_is_not_undone(guarded: Guarded) -> None:
    """A host whose turn had not come: the run goes back, and nothing is done there."""
    guarded.payload(f"cd {guarded.runner.at} && echo restart >>log")
    guarded.payload(f"cd {guarded.runner.at} && echo pause >>log", 1, stage="pause")
    guarded.began("pause")
    ended(guarded, guarded.arm())
    assert guarded.log == ["pause"]


def test_after_a_failure_it_goes_no_further(guarded: Guarded) -> None:
    """What comes next relies on it; a resume or rollback finds the receipt."""
    guarded.payload("exit 3")
    guarded.payload(f"cd {guarded.runner.at} && echo pause >>log", 1, stage="pause")
    guarded.began()
    guarded.began("pause")
    ended(guarded, guarded.arm())
    assert guarded.log == []
    assert [record["rc"] for record in guarded.records("ended")] == [3]


def test_it_may_have_to_leave_the_new_code(guarded: Guarded) -> None:
    """The controller is fenced, and the journal says that somebody has to roll back."""
    guarded.began()
    ended(guarded, guarded.arm("leave"))
    assert guarded.runner.epoch == 2
    (needs,) = guarded.records("needs_rollback")
    assert (needs["epoch"], needs["reason"]) == (2, "silence")
    assert not guarded.records("back")


def test_a_run_that_goes_back_already_needs_no_rollback_more(guarded: Guarded) -> None:
    """What it adds then turns nothing."""
    guarded.runner.append('{"kind":"back"}\n')
    os.utime(guarded.runner.private("lock/heartbeat"), (1000, 1000))
    ended(guarded, guarded.arm("leave"))
    assert not guarded.records("needs_rollback")
    assert [record["epoch"] for record in guarded.records("fired")] == [2]


def test_another_controller_fences_it(guarded: Guarded) -> None:
    """Who takes over right after it fired does the undo; the guardian does not."""
    guarded.payload(f"cd {guarded.runner.at} && echo undone >>log")
    guarded.began()
    with guarded.controller(
        f"cd {guarded.runner.at}; until [ -e go ]; do sleep 0.1; done", "shell", "undo", "undo"
    ):
        process = guarded.arm()
        eventually(lambda: guarded.records("back"))
        assert guarded.runner.lock()[0] == "locked"
        ended(guarded, process)
        (guarded.runner.root / "go").touch()
    assert guarded.log == []
