"""`runner.sh` as a program: what it promises, whatever happens to it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploykit.engine.session import sealed
from deploykit.host import script
from deploykit.shell import quote
from tests.farm import eventually
from tests.processes import parent, running

RUN = "20261104T101512Z-0badcafe"
MARK = b"\x01deploykit"


@dataclass
class Runner:
    """The runner of one root, under `sh`."""

    root: Path
    program: Path
    shell: tuple[str, ...] = ("/bin/sh",)
    path: str = os.environ["PATH"]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start it with *words*."""
        return subprocess.Popen(
            [*self.shell, self.program, self.root, *words],
            env={**os.environ, "PATH": self.path},
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
        body = f"#{json.dumps(record, separators=(',', ':'))}\n{text}\n"
        number = self.epoch if epoch is None else epoch
        return ("exec", RUN, ident, str(number)), sealed(body)

    def append(self, text: str, epoch: int | None = None) -> list[str]:
        """Put *text* into the journal of the run."""
        number = self.epoch if epoch is None else epoch
        words = ("append", str(number), f"runs/{RUN}/journal.jsonl")
        return self.call(*words, stdin=sealed(text))[0]

    def stop(self, ident: str = "s.apply.do.1") -> list[str]:
        """Stop a command."""
        return self.call("stop", RUN, ident, str(self.epoch))[0]

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


@pytest.fixture(params=["dash", "bash", "busybox", "without flock and setsid"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Runner:
    """Return a runner that holds the lock, in a root whose name needs quoting."""
    root = tmp_path / 'it\'s a "root" $HOME'
    (root / ".deploykit" / "runs").mkdir(parents=True)
    program = root / ".deploykit" / "runner.sh"
    program.write_text(script("runner.sh"))
    made = Runner(root, program)
    if request.param == "bash":
        made.shell = ("/bin/bash", "--posix")
    elif request.param == "busybox":
        made.shell = ("/bin/busybox", "sh")
    elif request.param == "without flock and setsid":
        made.path = str(path_without(tmp_path / "bin", "flock", "setsid"))
    assert made.lock() == ["locked", "1", "new"]
    return made


def path_without(folder: Path, *missing: str) -> Path:
    """Make *folder* a PATH with every program of this machine but those."""
    folder.mkdir()
    for place in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        for program in Path(place).iterdir():
            link = folder / program.name
            if program.name not in missing and not link.is_symlink():
                link.symlink_to(program)
    return folder


def answered(process: subprocess.Popen[bytes], stdin: bytes = b"") -> tuple[list[str], bytes]:
    """Return the words of a runner's answer, and what it printed."""
    out, err = process.communicate(stdin, timeout=60)
    lines = [line for line in err.split(b"\n") if line.startswith(MARK)]
    assert lines, (out, err)
    return lines[-1][len(MARK) :].decode().split(), out


def sha256(text: str) -> str:
    """Return the hex digest of *text*."""
    return hashlib.sha256(text.encode()).hexdigest()


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
    assert runner.exec(text) == (["ended", "0", "ran"], b"once\n")
    assert runner.exec(text) == (["ended", "0", "ran", "before"], b"once\n")
    assert (runner.root / "count").read_text() == "once\n"
    assert len(runner.journal) == 2


def test_older_records_are_written_with_a_command_s_own(runner: Runner) -> None:
    """In one flush, before it; not where the command has been before."""
    words, message = runner.command("true")
    first, _, rest = message.decode().partition("\n")[2].partition("\n")
    owed = '#@{"kind":"applied","stage":"before"}\n#@{"kind":"armed"}'
    message = sealed(f"{first}\n{owed}\n{rest}")
    assert runner.call(*words, stdin=message)[0] == ["ended", "0", "ran"]
    assert [r["kind"] for r in runner.journal] == ["applied", "armed", "began", "ended"]
    assert [r["seq"] for r in runner.journal] == [1, 2, 3, 4]
    assert runner.call(*words, stdin=message)[0] == ["ended", "0", "ran", "before"]
    assert len(runner.journal) == 4


def test_several_files_are_written_by_one_message(runner: Runner) -> None:
    """In order, each with numbers of its own."""
    words = ("append", "1", f"runs/{RUN}/journal.jsonl", "releases.jsonl")
    lines = '{"kind":"run"}\n{"kind":"plan"}\n@\n{"id":"r"}\n'
    assert runner.call(*words, stdin=sealed(lines))[0] == ["appended"]
    assert [r["kind"] for r in runner.journal] == ["run", "plan"]
    line = json.loads(runner.private("releases.jsonl").read_text())
    assert (line["id"], line["seq"]) == ("r", 1)


@pytest.mark.parametrize("language", [None, "C.UTF-8"])
def test_a_command_has_the_language_of_whoever_starts_it(
    runner: Runner, language: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner itself has none, which is faster."""
    monkeypatch.delenv("LC_ALL", raising=False)
    if language:
        monkeypatch.setenv("LC_ALL", language)
    assert runner.exec('echo "${LC_ALL-none}"')[1].decode() == f"{language or 'none'}\n"


def test_another_script_under_the_same_key_is_refused(runner: Runner) -> None:
    """One key names one command, whether that has ended or was torn."""
    runner.exec("true")
    assert runner.exec("false")[0] == ["changed"]


def test_a_message_that_was_cut_is_not_acted_upon(runner: Runner) -> None:
    """Neither half a script nor half an owner nor half a record has an effect."""
    words, message = runner.command(f"touch {runner.at}/done")
    for size in (0, 10, 65, len(message) - 2):  # the last newline is put back
        assert runner.call(*words, stdin=message[:size])[0] == ["cut"]
    assert not (runner.root / "done").exists()
    words = ("append", str(runner.epoch), f"runs/{RUN}/journal.jsonl")
    assert runner.call(*words, stdin=sealed("{}\n")[:-2])[0] == ["cut"]
    assert not runner.private(f"runs/{RUN}/journal.jsonl").exists()
    assert runner.call("lock", "other", "0", stdin=b"x")[0] == ["cut"]
    assert list(runner.private(".").glob(".owner*")) == []


def test_an_older_controller_is_fenced(runner: Runner) -> None:
    """Who took the lock again has a newer epoch, and the older one starts nothing."""
    old = runner.epoch
    assert runner.lock() == ["locked", str(old + 1), "again"]
    answer, _ = runner.exec(f"touch {runner.at}/done", epoch=old)
    fenced = ["fenced", str(old + 1)]
    assert answer == fenced
    assert not (runner.root / "done").exists()
    part, final = runner.root / "file.part", runner.root / "file"
    part.write_text("text")
    settle = ("settle", str(old), str(part), str(final), sha256("text"))
    assert runner.call(*settle)[0] == fenced
    assert not final.exists()
    assert not part.exists(), "what nobody will name was left"
    assert runner.append('{"kind":"x"}\n', old) == fenced
    assert runner.call("unlock", RUN, str(old))[0] == fenced
    assert runner.call("stop", RUN, "s.apply.do.1", str(old))[0] == fenced
    with runner.start("hold", RUN, str(old)) as hold:
        assert answered(hold, b"\n")[0] == fenced
    assert not runner.private(f"runs/{RUN}/journal.jsonl").exists()
    assert runner.exec("true")[0] == ["ended", "0", "ran"]


def test_an_epoch_can_be_raised_and_never_sinks(runner: Runner) -> None:
    """A host that was left out of some runs catches up."""
    assert runner.lock(least=9)[1] == "9"
    assert runner.lock(least=3)[1] == "10"


def test_a_lock_is_somebody_s(runner: Runner) -> None:
    """Another run does not get it, and frees nothing; its owner does."""
    assert runner.lock("other") == ["held"]
    assert runner.call("unlock", "other", "1")[0] == ["notmine"]
    assert json.loads(runner.private("lock/owner.json").read_text()) == {"run": RUN}
    assert runner.call("unlock", RUN, "1")[0] == ["unlocked"]
    assert not runner.private("lock").exists()
    assert runner.lock("other")[2] == "new"


def test_of_two_who_take_over_one_gets_the_lock(runner: Runner) -> None:
    """Whoever has seen the epoch that still counts; asked again by the same, it is his already."""
    mine, other = sealed('{"token":"a"}\n'), sealed('{"token":"b"}\n')
    assert runner.call("lock", RUN, "5", "1", stdin=mine)[0] == ["locked", "5", "again"]
    assert runner.call("lock", RUN, "5", "1", stdin=other)[0] == ["fenced", "5"]
    assert runner.call("lock", RUN, "5", "1", stdin=mine)[0] == ["locked", "5", "again"]
    assert runner.call("lock", RUN, "5", "below", stdin=other)[0] == ["fenced", "5"]
    assert runner.call("lock", RUN, "6", "below", stdin=other)[0] == ["locked", "6", "again"]
    assert runner.epoch == 6


def test_of_many_at_once_one_gets_the_lock(runner: Runner) -> None:
    """The lock appears whole, by one rename."""
    runner.call("unlock", RUN, "-")
    owner = sealed("{}\n")
    contenders = [runner.start("lock", f"run-{number}", "0") for number in range(8)]
    words = [answered(contender, owner)[0][0] for contender in contenders]
    assert sorted(words) == ["held"] * 7 + ["locked"]


def test_two_commands_never_run_at_once(runner: Runner) -> None:
    """The gate of a host is held for as long as a command runs, by whichever controller."""
    words, message = runner.command(f"until [ -e {runner.at}/go ]; do sleep 0.02; done")
    with runner.start(*words) as first, ThreadPoolExecutor() as pool:
        answer = pool.submit(answered, first, message)
        eventually(lambda: runner.private(f"runs/{RUN}/output/s.apply.do.1.state").exists())
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
        assert answered(second, message) == (["ended", "0", "ran", "before"], b"first\nlast\n")
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
        for process in (parent(int(pid)), *running("sleep 577"), int(pid)):
            os.kill(process, signal.SIGKILL)
        assert answer.result()[0] == ["torn"]
    assert runner.call(*words, stdin=message)[0] == ["torn"]
    assert runner.exec("other")[0] == ["changed"]
    assert [record["kind"] for record in runner.journal] == ["began"]


def test_a_torn_line_is_ended_before_the_next(runner: Runner) -> None:
    """What the host's death left of a line spoils no other, whatever it left of the scratch."""
    runner.exec("true")
    journal = runner.private(f"runs/{RUN}/journal.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])
    scratch = runner.private("scratch")
    scratch.write_text(f"9 of-another-boot {journal}\n")
    assert runner.append('{"kind":"x"}\n') == ["appended"]
    last = json.loads(journal.read_text().splitlines()[-1])
    assert (last["kind"], last["seq"]) == ("x", 3)
    scratch.write_text("")
    assert runner.append('{"kind":"y"}\n') == ["appended"]
    assert json.loads(journal.read_text().splitlines()[-1])["seq"] == 4


def test_a_time_serves_for_a_second_of_one_boot(runner: Runner) -> None:
    """Asking for it takes as long as all else in a record; what is no time is not believed."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    up = Path("/proc/uptime").read_text().split()[0].replace(".", "")
    old, journal = "2000-01-01T00:00:00Z", f"runs/{RUN}/journal.jsonl"
    for boot_, up_ in [("another", f"1{up}"), (boot, f"1{int(up) - 200}"), (boot, "x"), (boot, "")]:
        runner.private("scratch").write_text(f"0 {boot_} {up_} {old} {journal}\n")
        assert runner.append('{"kind":"x"}\n') == ["appended"]
        assert runner.journal[-1]["at"] != old
    up = Path("/proc/uptime").read_text().split()[0].replace(".", "")
    runner.private("scratch").write_text(f"4 {boot} 1{up} {old} {journal}\n")
    runner.append('{"kind":"x"}\n')
    assert [runner.journal[-1][name] for name in ("seq", "at")] == [5, old]


def test_stopping_ends_a_command_with_all_its_children(runner: Runner) -> None:
    """Also those that ignore TERM, and daemons that left its session; nobody else's process."""
    text = (
        "(trap '' TERM; exec sleep 611.1) &\n"
        "(/usr/bin/setsid sh -c 'trap \"\" TERM; sleep 611.2 & sleep 611.3' >/dev/null 2>&1 &)\n"
        f"touch {runner.at}/began\nsleep 611.4\n"
    )
    words, message = runner.command(text)
    with (
        subprocess.Popen(["sleep", "611.5"]) as stranger,
        runner.start(*words) as first,
        ThreadPoolExecutor() as pool,
        ExitStack() as stack,
    ):
        stack.callback(stranger.kill)
        answer = pool.submit(answered, first, message)
        eventually(lambda: len(running("sleep 611.")) >= 6 and (runner.root / "began").exists())
        assert runner.stop() == ["stopped"]
        assert answer.result()[0][0::2] == ["ended", "stopped"]
        assert running("sleep 611") == [stranger.pid]
    assert runner.journal[-1]["stopped"] is True
    assert runner.call(*words, stdin=message)[0][0:3:2] == ["ended", "stopped"]


def test_stopping_what_never_began_is_done_at_once(runner: Runner) -> None:
    """A signal can come before its command does."""
    assert runner.stop("s.apply.never.1") == ["stopped"]


def test_secrets_stand_in_no_argument_and_in_no_file(runner: Runner) -> None:
    """They travel on standard input, to the shell that carries them out."""
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
    assert answer[0] == "failed"
    assert not (runner.root / "done").exists()
    assert found(runner.root, "hunter3") == []


def test_the_end_of_its_input_ends_a_hold(runner: Runner) -> None:
    """A controller that is there holds a file lock, and one that is gone does not."""
    alive = runner.private("lock/alive")
    with runner.start("hold", RUN, "1") as hold:
        eventually(lambda: alive.exists() and is_locked(alive))
        assert hold.stdin
        before = runner.private("lock/heartbeat").stat().st_mtime_ns
        hold.stdin.write(b"\n")
        hold.stdin.flush()
        eventually(lambda: runner.private("lock/heartbeat").stat().st_mtime_ns > before)
        assert answered(hold)[0] == ["ended"]
    assert not is_locked(alive)
    assert runner.call("hold", "other", "1")[0] == ["notmine"]


def test_a_file_gets_its_name_once_it_is_whole(runner: Runner) -> None:
    """What is not what was sent keeps its temporary name."""
    part, final = runner.root / "file.part", runner.root / "file"
    part.write_text("text")
    words = ("settle", str(runner.epoch), str(part), str(final))
    assert runner.call(*words, sha256("texts"))[0] == ["wrong"]
    assert not final.exists()
    assert runner.call(*words, sha256("text"))[0] == ["settled"]
    assert (final.read_text(), part.exists()) == ("text", False)


def test_a_controller_of_old_does_not_stand_in_the_way(runner: Runner) -> None:
    """Frozen, it keeps its connection; who takes over stands in its place at once."""
    with runner.start("hold", RUN, "1") as old:
        alive = runner.private("lock/alive")
        eventually(lambda: alive.exists() and alive.read_text())
        old.send_signal(signal.SIGSTOP)
        try:
            runner.lock()
            with runner.start("hold", RUN, "2") as new:
                eventually(lambda: alive.read_text() == f"{new.pid}\n")
                assert answered(new)[0] == ["ended"]
        finally:
            old.kill()


def test_a_guardian_fires_only_at_a_silent_controller(runner: Runner) -> None:
    """What it saw last must still be so; then the controller is fenced, and the run goes back."""
    heartbeat = runner.private("lock/heartbeat")
    back = sealed(f'{{"kind":"back","run":"{RUN}","by":"guardian"}}\n')
    seen = str(int(heartbeat.stat().st_mtime))
    assert runner.call("fire", RUN, seen, stdin=back)[0] == ["over"]
    runner.append('{"kind":"run"}\n')
    os.utime(heartbeat, (1000, 1000))
    assert runner.call("fire", RUN, seen, stdin=back)[0] == ["alive"]
    assert runner.call("fire", "other", "1000", stdin=back)[0] == ["over"]
    assert runner.call("fire", RUN, "1000", stdin=back)[0] == ["fired", "2", "1"]
    last = runner.journal[-1]
    assert (last["kind"], last["epoch"], last["by"]) == ("back", 2, "guardian")
    assert runner.append('{"kind":"confirmed"}\n', 1) == ["fenced", "2"]
    # Fired again, as after another controller's death, it counts the turns and adds none.
    assert runner.call("fire", RUN, "1000", stdin=back)[0] == ["fired", "3", "1"]
    assert (runner.journal[-1]["kind"], runner.journal[-1]["epoch"]) == ("fired", 3)


def test_a_guardian_leaves_a_confirmed_run_alone(runner: Runner) -> None:
    """`confirmed` on this host decides it."""
    runner.append('{"kind":"run"}\n{"kind":"confirmed"}\n')
    os.utime(runner.private("lock/heartbeat"), (1000, 1000))
    back = sealed('{"kind":"back"}\n')
    assert runner.call("fire", RUN, "1000", stdin=back)[0] == ["over"]
    assert runner.epoch == 1


def test_going_back_has_a_reserve(runner: Runner) -> None:
    """It is taken with the lock, and freed for the record that turns the run back."""
    reserve = runner.private("reserve")
    assert reserve.stat().st_blocks * 512 >= 1 << 20
    runner.append('{"kind":"began"}\n')
    assert reserve.exists()
    words = ("append", "1-", f"runs/{RUN}/journal.jsonl")
    assert runner.call(*words, stdin=sealed('{"kind":"back"}\n'))[0] == ["appended"]
    assert not reserve.exists()


def test_who_started_a_command_may_be_gone_when_it_has_begun(runner: Runner) -> None:
    """Killed before the answer came, it leaves a command that goes on, not a torn one."""
    for number in range(20):
        words, message = runner.command("true", f"s.apply.do{number}.1")
        with runner.start(*words) as first:
            assert first.stdin
            first.stdin.write(message)
            first.stdin.close()
            time.sleep(number * 0.002)
            first.kill()
        assert runner.call(*words, stdin=message)[0][:3] == ["ended", "0", "ran"]


def test_a_lost_reader_leaves_nothing_behind(runner: Runner) -> None:
    """The connection is gone when the answer is to be written."""
    with runner.start("lock", "other", "0") as cut:
        assert cut.stdin
        assert cut.stderr
        cut.stderr.close()
        cut.stdin.write(b"half")
        cut.stdin.close()
    assert list(runner.private(".").glob(".owner.*")) == []


def test_what_a_dead_host_left_is_swept(runner: Runner) -> None:
    """Folders of processes that are gone go with the next lock."""
    runner.call("unlock", RUN, "-")
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    runner.private(f".owner.{gone.pid}").mkdir()
    runner.private(f".owner.{os.getpid()}").mkdir()
    late = runner.private(f"runs/{RUN}/file.part")
    late.parent.mkdir(exist_ok=True)
    late.touch()
    assert runner.lock()[2] == "new"
    assert not late.exists()
    left = [path.name for path in runner.private(".").glob(".owner.*")]
    assert left == [f".owner.{os.getpid()}"]


def test_a_long_script_in_any_language_runs_as_it_is(runner: Runner) -> None:
    """Longer than a pipe holds, every byte but the null, and its commands have no input."""
    every = bytes(byte for byte in range(1, 256) if byte not in b"\n\r'").decode("latin-1")
    text = f"printf '%s\\n' '{every}'\n" + f": '{'x' * 100}'\n" * 2000 + "cat; echo last \\"
    assert runner.exec(text) == (["ended", "0", "ran"], f"{every}\nlast\n".encode())


def test_a_script_that_is_no_shell_is_not_begun(runner: Runner) -> None:
    """What the shell cannot read to its end has no effect at all."""
    answer, _ = runner.exec(f"touch {runner.at}/done\nif true; then")
    assert answer == ["ended", "2", "ran"]
    assert not (runner.root / "done").exists()


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
    """Return whether somebody has seized *path*, by a file lock or without."""
    if path.with_name(f"{path.name}.by").is_symlink():
        return True
    return subprocess.run(["flock", "-s", "-n", path, "true"], check=False).returncode != 0
