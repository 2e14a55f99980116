"""Connections over real OpenSSH servers: who is let in, who is refused, and what is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploykit import Host as Target
from deploykit.engine.session import Session
from deploykit.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectFailed,
    DeploykitError,
    HostKeyRefused,
    LinkLost,
)
from deploykit.layout import Layout
from deploykit.scrub import Scrubber
from deploykit.transport import ssh
from deploykit.transport.retrying import RetryingTransport
from tests.farm import Host, Hosts, eventually
from tests.farm.shell import call


def target(host: Host, **options: Any) -> Target:
    """Return the deploykit host for a host of the test bed."""
    known = {"host_key": host.host_key, "identity": str(host.identity), "user": "deploy"}
    return Target(host.ip, **{**known, "name": host.name, **options})


@contextmanager
def connected(aim: Target) -> Iterator[ssh.SSHTransport]:
    """Give one connection."""
    transport = ssh.connect(aim)
    try:
        yield transport
    finally:
        transport.close()


@contextmanager
def session(host: Host, root: str = "/srv/shop") -> Iterator[Session]:
    """Give a host as the engine sees it: a connection that comes back when it is lost."""
    transport = RetryingTransport(lambda: ssh.connect(target(host)))
    try:
        yield Session(host.name, transport, Layout(root), Scrubber())
    finally:
        transport.close()


@pytest.fixture
def config(home: Path) -> Callable[[str], None]:
    """Return a function that writes `~/.ssh/config`."""
    (home / ".ssh").mkdir(mode=0o700)

    def write(text: str) -> None:
        (home / ".ssh" / "config").write_text(text)

    return write


def test_a_command_is_carried_out(host: Host) -> None:
    """Input goes in, both streams and the exit code come out."""
    with connected(target(host)) as link:
        done = link.execute("cat; echo err >&2; exit 7", b"in")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"in", b"err\n")


def test_much_goes_both_ways(host: Host) -> None:
    """Megabytes in and out at once block nothing."""
    sent = bytes(range(256)) * (3 << 12)
    with connected(target(host)) as link:
        assert link.execute("tee /dev/stderr", sent, timeout=60).stdout == sent


def test_a_timeout_is_no_lost_link(host: Host) -> None:
    """The connection goes on to serve."""
    with connected(target(host)) as link:
        with pytest.raises(TimeoutError):
            link.execute("sleep 60", timeout=0.3)
        assert link.execute("echo still").stdout == b"still\n"


def test_a_wrong_key_is_refused(host: Host, tmp_path: Path) -> None:
    """The error names user, host, the key that was offered, and how to put it there."""
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "wrong"))
    with pytest.raises(AuthenticationFailed, match=f"deploy@{host.ip}:22 refused .*wrong") as error:
        ssh.connect(target(host, identity=str(tmp_path / "wrong")))
    assert "ssh-copy-id" in error.value.then
    assert error.value.exit_code == 2


def test_a_key_file_that_is_not_there_is_a_mistake_in_deploy_py(host: Host) -> None:
    """It is named before anything is dialled."""
    with pytest.raises(ConfigurationError, match="no key file 'keys/absent'"):
        ssh.connect(target(host, identity="keys/absent"))


def test_an_unknown_host_key_is_refused_with_its_fingerprint(host: Host) -> None:
    """As OpenSSH prints it, to be compared; `trust` is named."""
    with pytest.raises(HostKeyRefused, match="not known") as refused:
        ssh.connect(target(host, host_key=None))
    printed = call("ssh-keygen", "-l", "-f", "-", input=host.host_key).stdout.split()[1]
    assert printed in refused.value.what
    assert ssh.fingerprint(ssh.host_key_of(target(host, host_key=None))) == printed
    assert "deploykit trust" in refused.value.then


def test_a_changed_host_key_is_refused_loudly(hosts: Hosts) -> None:
    """Both fingerprints are shown, pinned in `deploy.py` or known by known_hosts."""
    host, other = hosts(2)
    with pytest.raises(HostKeyRefused, match="CHANGED") as refused:
        ssh.connect(target(host, host_key=other.host_key))
    assert refused.value.what.count("SHA256:") == 2


def test_a_host_key_that_is_none_is_a_mistake_in_deploy_py(host: Host) -> None:
    """It is said so, rather than that the host's key were unknown."""
    for key in ("x", "ssh-ed25519", "ssh-ed25519 not-base64"):
        with pytest.raises(ConfigurationError, match="host_key is not a public key"):
            ssh.connect(target(host, host_key=key))


def test_a_known_hosts_file_that_is_broken_is_named(host: Host, home: Path) -> None:
    """One bad line in it is a sentence with its path, not a traceback."""
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh" / "known_hosts").write_text(f"{host.ip} ssh-ed25519 not-base64\n")
    with pytest.raises(ConfigurationError, match="known_hosts cannot be read"):
        ssh.connect(target(host, host_key=None))


def test_a_line_of_known_hosts_will_do_as_host_key(host: Host) -> None:
    """People paste what they have."""
    with connected(target(host, host_key=f"{host.ip} {host.host_key} comment")) as link:
        assert link.execute("true").exit_code == 0


@pytest.mark.parametrize("trouble", ["refuse", "linkdown"])
def test_an_unreachable_host_is_named(
    host: Host, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it answers no or not at all; the error has the command to try."""
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT", 1.0)
    getattr(host, trouble)()
    with pytest.raises(ConnectFailed, match=f"no SSH connection to {host.ip}:22") as failed:
        ssh.connect(target(host))
    assert f"ssh -p 22 {host.ip} true" in failed.value.then


def test_an_address_that_does_not_resolve_is_named() -> None:
    """A typo in a name is no traceback."""
    with pytest.raises(ConnectFailed, match=r"no SSH connection to nowhere\.invalid:22"):
        ssh.connect(Target("nowhere.invalid", user="deploy"))


def test_ssh_config_says_what_the_host_does_not(host: Host, config: Callable[[str], None]) -> None:
    """Alias, user, key and known_hosts file."""
    config(
        f"Host shop\n  HostName {host.ip}\n  User deploy\n  IdentityFile {host.identity}\n"
        f"  UserKnownHostsFile {host.known_hosts}\n"
    )
    with connected(Target("shop")) as link:
        assert link.execute("id -un").stdout == b"deploy\n"
    assert ssh.known_hosts_file(Target("shop")) == (host.known_hosts, host.ip)


def test_a_jump_host_is_gone_through(hosts: Hosts, config: Callable[[str], None]) -> None:
    """Named in `deploy.py` or in ssh_config; both host keys are checked."""
    host, gate = hosts(2)
    rule = f"tcp dport 22 ip saddr != {gate.ip} drop"
    host.root(f"""
        nft add table inet gated
        nft 'add chain inet gated in {{ type filter hook input priority 0; }}'
        nft add rule inet gated in {rule}
    """)
    try:
        config(
            f"Host gate\n  HostName {gate.ip}\n"
            f"Host via\n  HostName {host.ip}\n  ProxyJump gate\n"
            f"Host *\n  IdentityFile {host.identity}\n  User deploy\n"
            f"  UserKnownHostsFile {host.known_hosts}\n"
        )
        straight = f"deploy@{gate.ip}:22"
        for aim in (Target("via"), target(host, jump="gate"), target(host, jump=straight)):
            with connected(aim) as link:
                assert link.execute("hostname").stdout.decode().strip() == host.name
        config("Host *\n  UserKnownHostsFile /dev/null\n")
        with pytest.raises(HostKeyRefused, match="not known"):
            ssh.connect(target(host, jump=f"deploy@{gate.ip}"))
    finally:
        host.root("nft delete table inet gated")


def test_a_login_shell_s_banner_is_no_answer(host: Host) -> None:
    """Whatever `.bashrc` prints, on either stream, is not taken for ours."""
    host.write("/home/deploy/.bashrc", "echo WELCOME; echo WARNING >&2\n", owner="deploy:deploy")
    try:
        with session(host) as on_host:
            host.root("install -d -o deploy /srv/shop")
            on_host.prepare()
            assert on_host.query("echo mine").output == "mine\n"
            answer, _ = on_host.call("append", "runs/r/journal.jsonl", stdin=b"x")
            assert answer.word == "cut"
    finally:
        host.root("rm /home/deploy/.bashrc")


@pytest.mark.parametrize("shell", ["/bin/dash", "/usr/local/bin/ash"])
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
            on_host.append("runs/r/journal.jsonl", [{"kind": "run"}])
            records = on_host.records("/srv/it's here/.deploykit/runs/r/journal.jsonl")
            assert [record["kind"] for record in records] == ["run"]
    finally:
        host.root("usermod -s /bin/bash deploy")


def test_a_server_s_limit_of_sessions_ends_in_an_error(host: Host) -> None:
    """MaxSessions reached is said, not waited for, and a later command is served."""
    host.write("/etc/ssh/sshd_config.d/max.conf", "MaxSessions 1\n")
    host.root("systemctl reload ssh")
    try:
        eventually(lambda: _is_open(host))
        with connected(target(host)) as link:
            held = link.hold("cat")
            with pytest.raises(LinkLost):
                link.execute("true", timeout=20)
            held.close()
            eventually(lambda: link.execute("true").exit_code == 0, failing=LinkLost)
    finally:
        host.root("rm /etc/ssh/sshd_config.d/max.conf; systemctl reload ssh")


def _is_open(host: Host) -> bool:
    try:
        ssh.connect(target(host)).close()
    except ConnectFailed:
        return False
    return True


def test_a_link_that_is_cut_in_a_query_is_made_again(host: Host) -> None:
    """The query is asked again over a new connection, once the old one is gone."""
    host.root("rm -f /tmp/asked")
    with session(host, "/tmp") as on_host:
        answers: list[str] = []
        script = "echo x >>asked; [ $(wc -l <asked) -gt 1 ] || sleep 300; cat asked"
        thread = threading.Thread(target=lambda: answers.append(on_host.query(script).output))
        thread.start()
        eventually(lambda: host.exists("/tmp/asked"))
        host.root("pkill -o -u deploy sshd")
        thread.join(30)
    assert answers == ["x\nx\n"]


def test_what_a_command_said_before_the_link_was_cut_is_told_once(host: Host) -> None:
    """The host repeats its output from the beginning, and only what is new is passed on."""
    host.root("rm -f /tmp/begun; echo first >/tmp/said; chown deploy /tmp/said")
    heard = bytearray()
    with session(host, "/tmp") as on_host:
        on_host.prepare()
        text = (
            r"cd /tmp; printf '\001deploykit\n'; cat said; [ -e begun ] || { : >begun; sleep 300; }"
        )
        host.write(on_host._runner, text, owner="deploy:deploy")
        call_it = threading.Thread(target=lambda: _unanswered(on_host, heard))
        call_it.start()
        eventually(lambda: bytes(heard) == b"first\n")
        host.root("echo second >>/tmp/said; pkill -o -u deploy sshd")
        call_it.join(30)
    assert bytes(heard) == b"first\nsecond\n"


def _unanswered(on_host: Session, heard: bytearray) -> None:
    with pytest.raises(DeploykitError, match="did not answer"):
        on_host.call("exec", on_output=heard.extend)


def test_a_link_that_went_silent_is_noticed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets dropped without a word: within the stated time, also while nothing is sent."""
    monkeypatch.setattr(ssh, "DEAD_AFTER", 6.0)
    with connected(target(host)) as link:
        threading.Timer(0.5, host.partition).start()
        began = time.monotonic()
        with pytest.raises(LinkLost):
            link.execute("sleep 300", timeout=60)
        assert time.monotonic() - began < 0.5 + 6.0 + 1.5
        with pytest.raises(LinkLost):
            link.execute("true", timeout=60)


def test_files_are_written_whole_or_refused(host: Host) -> None:
    """Modes hold whatever the umask; a refusal names path and reason."""
    import io

    with connected(target(host)) as link:
        files = link.files()
        files.mkdir("/tmp/folder", 0o2750)
        files.write(io.BytesIO(b"x" * 100_000), "/tmp/folder/file", 0o640)
        files.symlink("file", "/tmp/folder/link")
        files.rename("/tmp/folder/link", "/tmp/folder/renamed")
        assert (files.size("/tmp/folder/file"), files.size("/tmp/nothing")) == (100_000, None)
        with pytest.raises(DeploykitError, match=r"cannot write /etc/x: Permission denied"):
            files.write(io.BytesIO(b"x"), "/etc/x", 0o600)
    assert host.root("stat -c '%a %N' /tmp/folder /tmp/folder/*").stdout.split("\n")[:3] == [
        "2750 '/tmp/folder'",
        "640 '/tmp/folder/file'",
        "777 '/tmp/folder/renamed' -> 'file'",
    ]
