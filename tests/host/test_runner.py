"""`runner.sh` as a program: what it promises, whatever happens to it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploykit.host import script
from deploykit.shell import quote
from tests.farm import eventually
from tests.processes import running

RUN = "20261104T101512Z-0badcafe"
MARK = b"\x01deploykit"


@dataclass
class Runner:
    """The runner of one root, under `sh`."""

    root: Path
    program: Path

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start it with *words*."""
        return subprocess.Popen(
            ["/bin/sh", self.program, self.root, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def call(self, *words: str, stdin: bytes = b"") -> tuple[list[str], bytes]:
        """Return the words of its answer, and what it printed."""
        return answered(self.start(*words), stdin)

    def exec(
        self, text: str, ident: str = "s.apply.do.1", *, epoch: int | None = None, digest: str = ""
    ) -> tuple[list[str], bytes]:
        """Have it carry out a command."""
        words, message = self.command(text, ident, epoch=epoch, digest=digest)
        return self.call(*words, stdin=message)

    def command(
        self, text: str, ident: str = "s.apply.do.1", *, epoch: int | None = None, digest: str = ""
    ) -> tuple[tuple[str, ...], bytes]:
        """Return the words and the input by which it carries out a command."""
        record = {"run": RUN, "stage": "s", "id": ident, "digest": digest or sha256(text)}
        body = json.dumps(record, separators=(",", ":")) + "\n" + text + "\n"
        number = self.epoch if epoch is None else epoch
        return ("exec", RUN, ident, str(number)), sealed(body)

    def lock(self, run: str = RUN, least: int = 0) -> list[str]:
        """Take the lock."""
        return self.call("lock", run, str(least), stdin=sealed(json.dumps({"run": run}) + "\n"))[0]

    @property
    def at(self) -> str:
        """The root as a word of a shell."""
        return quote(self.root)

    @property
    def epoch(self) -> int:
        """The epoch that the host has issued last."""
        return int(self.private("epoch").read_text())

    @property
    def journal(self) -> list[dict[str, object]]:
        """The records of the run."""
        lines = self.private(f"runs/{RUN}/journal.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def private(self, name: str) -> Path:
        """Return a path below `.deploykit`."""
        return self.root / ".deploykit" / name


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """Return a runner that holds the lock, in a root whose name needs quoting."""
    root = tmp_path / 'it\'s a "root" $HOME'
    (root / ".deploykit" / "runs").mkdir(parents=True)
    program = root / ".deploykit" / "runner.sh"
    program.write_text(script("runner.sh"))
    made = Runner(root, program)
    assert made.lock() == ["locked", "1", "new"]
    return made


def answered(process: subprocess.Popen[bytes], stdin: bytes = b"") -> tuple[list[str], bytes]:
    """Return the words of a runner's answer, and what it printed."""
    out, err = process.communicate(stdin, timeout=60)
    lines = [line for line in err.split(b"\n") if line.startswith(MARK)]
    assert lines, (out, err)
    banner, _, printed = out.partition(MARK + b"\n")
    assert banner == b""
    return lines[-1][len(MARK) :].decode().split(), printed


def sha256(text: str) -> str:
    """Return the hex digest of *text*."""
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(text: str) -> bytes:
    """Return *text* under its digest."""
    return f"{sha256(text)}\n{text}".encode()


def test_a_command_has_a_receipt(runner: Runner) -> None:
    """Its output, its exit code, and two lines of the journal that are numbered and timed."""
    answer, printed = runner.exec("echo out; echo err >&2; exit 7")
    assert (answer, printed) == (["ended", "7", "ran"], b"out\nerr\n")
    began, ended = runner.journal
    assert (began["kind"], ended["kind"], ended["rc"], ended["stopped"]) == (
        "began",
        "ended",
        7,
        False,
    )
    assert [began["seq"], ended["seq"]] == [1, 2]
    assert (began["v"], began["digest"]) == (1, ended["digest"])


def test_an_ended_command_is_answered_again(runner: Runner) -> None:
    """From its receipt, with its output, and without a second effect."""
    text = f"echo once | tee -a {runner.at}/count"
    assert runner.exec(text) == runner.exec(text) == (["ended", "0", "ran"], b"once\n")
    assert (runner.root / "count").read_text() == "once\n"
    assert len(runner.journal) == 2


def test_another_script_under_the_same_key_is_refused(runner: Runner) -> None:
    """One key names one command, whether that has ended or was torn."""
    runner.exec("true")
    assert runner.exec("false")[0] == ["changed"]


def test_a_message_that_was_cut_is_not_acted_upon(runner: Runner) -> None:
    """Neither half a script nor half an owner nor half a record has an effect."""
    words, message = runner.command(f"touch {runner.at}/done")
    for size in (0, 10, 65, len(message) - 1):
        assert runner.call(*words, stdin=message[:size])[0] == ["cut"]
    assert not (runner.root / "done").exists()
    assert runner.call("append", f"runs/{RUN}/journal.jsonl", stdin=sealed("{}\n")[:-1])[0] == [
        "cut"
    ]
    assert not runner.private(f"runs/{RUN}/journal.jsonl").exists()
    assert runner.call("lock", "other", "0", stdin=b"x")[0] == ["cut"]
    assert list(runner.private(".").glob(".owner*")) == []


def test_an_older_controller_is_fenced(runner: Runner) -> None:
    """Who took the lock again has a newer epoch, and the older one starts nothing."""
    old = runner.epoch
    assert runner.lock() == ["locked", str(old + 1), "again"]
    answer, _ = runner.exec(f"touch {runner.at}/done", epoch=old)
    assert answer == ["fenced", str(old + 1)]
    assert not (runner.root / "done").exists()
    assert runner.exec("true")[0] == ["ended", "0", "ran"]


def test_an_epoch_can_be_raised_and_never_sinks(runner: Runner) -> None:
    """A host that was left out of some runs catches up."""
    assert runner.lock(least=9)[1] == "9"
    assert runner.lock(least=3)[1] == "10"


def test_a_lock_is_somebody_s(runner: Runner) -> None:
    """Another run does not get it, and frees nothing; its owner does."""
    assert runner.lock("other") == ["held"]
    assert runner.call("unlock", "other")[0] == ["notmine"]
    assert json.loads(runner.private("lock/owner.json").read_text()) == {"run": RUN}
    assert runner.call("unlock", RUN)[0] == ["unlocked"]
    assert not runner.private("lock").exists()
    assert runner.lock("other")[2] == "new"


def test_of_many_at_once_one_gets_the_lock(runner: Runner) -> None:
    """The lock appears whole, by one rename."""
    runner.call("unlock", RUN)
    owner = sealed("{}\n")
    contenders = [runner.start("lock", f"run-{number}", "0") for number in range(8)]
    words = [answered(contender, owner)[0][0] for contender in contenders]
    assert sorted(words) == ["held"] * 7 + ["locked"]


def test_two_commands_never_run_at_once(runner: Runner) -> None:
    """The gate of a host is held for as long as a command runs, by whichever controller."""
    words, message = runner.command(f"until [ -e {runner.at}/go ]; do sleep 0.02; done")
    with runner.start(*words) as first, ThreadPoolExecutor() as pool:
        answer = pool.submit(answered, first, message)
        eventually(lambda: runner.private(f"runs/{RUN}/output/s.apply.do.1.pid").exists())
        assert runner.exec("true", "s.apply.other.1")[0] == ["busy"]
        (runner.root / "go").touch()
        assert answer.result()[0] == ["ended", "0", "ran"]
    assert runner.exec("true", "s.apply.other.1")[0] == ["ended", "0", "ran"]


def test_a_command_outlives_its_controller_and_is_joined(runner: Runner) -> None:
    """Killed with its session, the controller comes back and sees the whole output, once."""
    text = f"echo first; until [ -e {runner.at}/go ]; do sleep 0.02; done; echo last"
    words, message = runner.command(text)
    with runner.start(*words) as first:
        assert first.stdin
        first.stdin.write(message)
        first.stdin.close()
        output = runner.private(f"runs/{RUN}/output/s.apply.do.1.out")
        eventually(lambda: output.exists() and output.read_text() == "first\n")
        first.kill()
    with runner.start(*words) as second:
        threading.Timer(0.3, (runner.root / "go").touch).start()
        assert answered(second, message) == (["ended", "0", "ran"], b"first\nlast\n")
    assert [record["kind"] for record in runner.journal] == ["began", "ended"]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("printf 'no end'", b"no end"),
        ("printf '\\000\\001deploykit\\n\\377'", b"\x00\x01deploykit\n\xff"),
        ("head -c 5000000 /dev/zero | tr '\\0' x", b"x" * 5_000_000),
        (":", b""),
    ],
)
def test_output_comes_as_it_is(runner: Runner, text: str, printed: bytes) -> None:
    """Without a last newline, binary, with our own mark in it, five megabytes, or none."""
    assert runner.exec(text) == (["ended", "0", "ran"], printed)
    assert runner.exec(text)[1] == printed


def test_a_torn_command_is_told_from_a_finished_one(runner: Runner) -> None:
    """Its runner and itself killed, as when a host dies: begun, and nobody knows how far."""
    words, message = runner.command(f"echo half; echo $$ >{runner.at}/pid; sleep 577")
    with runner.start(*words) as first, ThreadPoolExecutor() as pool:
        answer = pool.submit(answered, first, message)
        pid = eventually(lambda: (runner.root / "pid").exists() and read(runner.root / "pid"))
        for process in (*running(f"detached {RUN} s.apply.do.1"), *running("sleep 577"), int(pid)):
            os.kill(process, signal.SIGKILL)
        assert answer.result()[0] == ["torn"]
    assert runner.call(*words, stdin=message)[0] == ["torn"]
    assert runner.exec("other")[0] == ["changed"]
    assert [record["kind"] for record in runner.journal] == ["began"]


def test_a_torn_line_is_ended_before_the_next(runner: Runner) -> None:
    """What the host's death left of a line spoils no other."""
    runner.exec("true")
    journal = runner.private(f"runs/{RUN}/journal.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])
    assert runner.call("append", f"runs/{RUN}/journal.jsonl", stdin=sealed('{"kind":"x"}\n'))[
        0
    ] == ["appended"]
    last = json.loads(journal.read_text().splitlines()[-1])
    assert (last["kind"], last["seq"]) == ("x", 3)


def test_stopping_ends_a_command_with_all_its_children(runner: Runner) -> None:
    """Also those that ignore TERM, and daemons that left its session; nobody else's process."""
    text = (
        "(trap '' TERM; exec sleep 611.1) &\n"
        "(setsid sh -c 'trap \"\" TERM; sleep 611.2 & sleep 611.3' >/dev/null 2>&1 &)\n"
        f"touch {runner.at}/began\nsleep 611.4\n"
    )
    words, message = runner.command(text)
    with (
        subprocess.Popen(["sleep", "611.5"]) as stranger,
        runner.start(*words) as first,
        ThreadPoolExecutor() as pool,
    ):
        answer = pool.submit(answered, first, message)
        eventually(lambda: len(running("sleep 611.")) >= 6 and (runner.root / "began").exists())
        assert runner.call("stop", RUN, "s.apply.do.1")[0] == ["stopped"]
        assert answer.result()[0][0::2] == ["ended", "stopped"]
        assert running("sleep 611") == [stranger.pid]
        stranger.kill()
    assert runner.journal[-1]["stopped"] is True
    assert runner.call(*words, stdin=message)[0][0::2] == ["ended", "stopped"]


def test_stopping_what_never_began_is_done_at_once(runner: Runner) -> None:
    """A signal can come before its command does."""
    assert runner.call("stop", RUN, "s.apply.never.1")[0] == ["stopped"]


def test_secrets_stand_in_no_argument_and_in_no_file_afterwards(runner: Runner) -> None:
    """They travel on standard input, and the payload removes itself before it does anything."""
    secret = "hunter2-in-the-payload"  # made up
    text = f"export TOKEN='{secret}'\ntouch {runner.at}/began\n"
    words, message = runner.command(
        text + f"until [ -e {runner.at}/go ]; do sleep 0.02; done\n", digest="0" * 64
    )
    with runner.start(*words) as first, ThreadPoolExecutor() as pool:
        answer = pool.submit(answered, first, message)
        eventually((runner.root / "began").exists)
        assert running(secret) == []
        assert found(runner.root, secret) == []
        (runner.root / "go").touch()
        assert answer.result()[0] == ["ended", "0", "ran"]
    assert found(runner.root, secret) == []


def test_a_command_that_cannot_be_recorded_leaves_no_secret(runner: Runner) -> None:
    """It does not run either: first the record, then the effect."""
    runner.private(f"runs/{RUN}/journal.jsonl").mkdir(parents=True)
    answer, _ = runner.exec(f"echo hunter3; touch {runner.at}/done", digest="0" * 64)
    assert answer == ["never"]
    assert not (runner.root / "done").exists()
    assert found(runner.root, "hunter3") == []


def test_the_end_of_its_input_ends_a_hold(runner: Runner) -> None:
    """A controller that is there holds a file lock, and one that is gone does not."""
    alive = runner.private("lock/alive")
    with runner.start("hold", RUN) as hold:
        eventually(lambda: alive.exists() and is_locked(alive))
        assert hold.stdin
        before = runner.private("lock/heartbeat").stat().st_mtime_ns
        hold.stdin.write(b"\n")
        hold.stdin.flush()
        eventually(lambda: runner.private("lock/heartbeat").stat().st_mtime_ns > before)
        assert answered(hold)[0] == ["ended"]
    assert not is_locked(alive)
    assert runner.call("hold", "other")[0] == ["notmine"]


def test_a_verb_it_does_not_know_is_refused(runner: Runner) -> None:
    """A newer controller is told, and nothing happens."""
    assert runner.call("dance")[0][:2] == ["failed", "unknown"]


def read(path: Path) -> str:
    """Return the stripped text of *path*."""
    return path.read_text().strip()


def found(root: Path, text: str) -> list[Path]:
    """Return the files below *root* that hold *text*."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


def is_locked(path: Path) -> bool:
    """Return whether somebody holds the file lock on *path*."""
    return subprocess.run(["flock", "-s", "-n", path, "true"], check=False).returncode != 0
