"""Our `sh` under whatever login shell: its words are no answers, and it gets none of ours."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest

from deploykit.engine.session import sealed
from deploykit.transport.boot import BOOT, MARK, AfterMark, message
from deploykit.transport.local import LocalTransport
from tests.farm import Host
from tests.transport.links import connected, session, target


def test_a_login_shell_s_banner_is_no_answer(host: Host) -> None:
    """Whatever `.bashrc` prints, on either stream, is not taken for ours."""
    host.write("/home/deploy/.bashrc", "echo WELCOME; echo WARNING >&2\n", owner="deploy:deploy")
    try:
        with session(host) as on_host:
            host.root("install -d -o deploy /srv/shop")
            on_host.prepare()
            asked = on_host.query("echo mine; echo warning >&2")
            assert (asked.output, asked.errors) == ("mine\n", "warning\n")
            answer, _ = on_host.call("append", "-", "runs/r/journal.jsonl", stdin=b"x")
            assert answer.word == "cut"
            files = on_host.transport.files()
            files.write(io.BytesIO(b"text"), "/srv/shop/file", 0o600)
            assert files.look(["/srv/shop/file"])["/srv/shop/file"].size == 4
            assert host.read("/srv/shop/file") == "text"
    finally:
        host.root("rm /home/deploy/.bashrc")


@pytest.mark.parametrize("shell", ["/bin/dash", "/usr/local/bin/ash", "/usr/bin/fish", "/bin/tcsh"])
def test_any_login_shell_will_do(host: Host, shell: str) -> None:
    """What is sent to it are words that every shell takes alike."""
    host.root("ln -sf /bin/busybox /usr/local/bin/ash; echo /usr/local/bin/ash >>/etc/shells")
    host.root(
        f"usermod -s {shell} deploy; rm -rf /srv/it*; install -d -o deploy '/srv/it'\\''s here'"
    )
    try:
        with session(host, "/srv/it's here") as on_host:
            on_host.prepare()
            assert on_host.query("printf '%s' \"$PWD\"").output == "/srv/it's here"
            lines = sealed('{"kind":"run"}\n')
            on_host.call("append", "-", "runs/r/journal.jsonl", stdin=lines)
            records = on_host.records("/srv/it's here/.deploykit/runs/r/journal.jsonl")
            assert [record["kind"] for record in records] == ["run"]
    finally:
        host.root("usermod -s /bin/bash deploy")


def test_an_account_without_a_shell_is_heard(host: Host) -> None:
    """What it says instead is passed on, with its exit code."""
    host.root("usermod -s /usr/sbin/nologin deploy")
    try:
        with connected(target(host)) as link:
            done = link.execute("true")
            assert done.exit_code == 1
            assert b"not available" in done.stdout
    finally:
        host.root("usermod -s /bin/bash deploy")


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_a_mark_is_found_however_it_arrives(pieces: int) -> None:
    """In one piece or byte by byte; what follows it is passed on at once."""
    stream = b"hello\n" + MARK + b" no\n" + MARK + b"\nmine\n" + MARK + b"\n"
    heard = bytearray()
    take, kept = AfterMark(heard.extend), AfterMark()
    size = -(-len(stream) // pieces)
    for at in range(0, len(stream), size):
        take(stream[at : at + size])
        kept(stream[at : at + size])
    assert bytes(heard) == kept.kept == b"mine\n" + MARK + b"\n"


def test_each_shell_of_this_machine_starts_ours() -> None:
    """Whatever its quoting: all of them read the one line that a login shell sees alike."""
    shells = [["sh"], ["bash"], ["dash"], ["busybox", "ash"], ["fish"], ["tcsh"], ["zsh"], ["ksh"]]
    here = [words for words in shells if shutil.which(words[0])]
    assert ["sh"] in here
    for words in here:
        text = message('eval "$(cat)" </dev/null', b"echo out; echo err >&2; exit 7")
        done = subprocess.run([*words, "-c", BOOT], input=text, capture_output=True, check=False)
        out, err = AfterMark(), AfterMark()
        out(done.stdout)
        err(done.stderr)
        assert (done.returncode, out.kept, err.kept) == (7, b"out\n", b"err\n"), words
        cut = subprocess.run([*words, "-c", BOOT], input=b"echo", capture_output=True, check=False)
        assert (cut.returncode, cut.stderr) == (1, b""), words  # a line that is cut is not done


def test_a_command_is_one_line() -> None:
    """The second would be taken for its input."""
    assert message("cat", b"in") == b"cat\nin"
    with pytest.raises(ValueError, match="not one line"):
        message("true\nfalse")


def test_this_machine_is_a_host_too() -> None:
    """Without SSH, by the same few words."""
    here = LocalTransport()
    done = here.execute("cat; echo err >&2; exit 7", b"in")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"in", b"err\n")
    with pytest.raises(TimeoutError):
        here.execute("sleep 60", timeout=0.1)
