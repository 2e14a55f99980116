"""Connections over real OpenSSH servers: who is let in, who is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko.packet
import pytest

from deploykit import Host as Target
from deploykit.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectFailed,
    DeploykitError,
    HostKeyRefused,
)
from deploykit.transport import ssh
from deploykit.transport.ssh import limits
from tests.farm import Host, Hosts
from tests.farm.shell import call
from tests.transport.links import connected, target


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
        with pytest.raises(ValueError, match="not one line"):
            link.execute("true\ntrue")


def test_much_goes_both_ways(host: Host) -> None:
    """Megabytes in and out at once block nothing."""
    sent = bytes(range(256)) * (3 << 12)
    with connected(target(host)) as link:
        assert link.execute("tee /dev/stderr", sent, timeout=60).stdout == sent


def test_keys_are_not_renewed_under_way(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paramiko would do so every 512 MiB, and lose the connection if a command ends just then."""
    monkeypatch.setattr(paramiko.packet.Packetizer, "REKEY_BYTES", 1 << 20)
    with connected(target(host)) as link:
        for _ in range(10):
            assert link.execute("wc -c", bytes(3 << 20)).stdout == b"3145728\n"
            assert link.execute("echo still").stdout == b"still\n"


def test_more_than_a_gigabyte_and_then_commands(host: Host) -> None:
    """Whoever would renew keys has a reason to by then; commands beside it go on as well."""
    piece = bytes(1 << 20)
    said: list[bytes] = []
    with connected(target(host)) as link:

        def pieces() -> Iterator[bytes]:
            for number in range(1100):
                if number % 100 == 0:
                    said.append(link.execute("echo beside").stdout)
                yield piece

        assert link.feed("wc -c", pieces()).stdout == f"{1100 << 20}\n".encode()
        assert said == [b"beside\n"] * 11
        assert link.execute("echo after").stdout == b"after\n"


@pytest.mark.parametrize(
    ("allowed", "taken"),
    [
        ("+aes128-gcm@openssh.com", "aes128-gcm@openssh.com"),
        ("chacha20-poly1305@openssh.com,aes256-gcm@openssh.com", "aes256-gcm@openssh.com"),
        ("aes256-ctr,aes128-cbc", "aes256-ctr"),
    ],
)
def test_the_fastest_safe_cipher_is_taken(host: Host, allowed: str, taken: str) -> None:
    """Whatever the server's own order."""
    with _sshd(host, f"Ciphers {allowed}"), connected(target(host)) as link:
        transport = link._links[0]._transport
        assert transport.local_cipher == taken
        assert link.execute("echo there").stdout == b"there\n"


@pytest.mark.parametrize("line", ["Ciphers aes128-cbc,3des-cbc", "MACs hmac-md5"])
def test_what_openssh_leaves_out_is_not_taken(host: Host, line: str) -> None:
    """A server that can nothing better is refused, with what it offers."""
    # CBC needs a MAC, and what a MAC is needed for is not GCM.
    more = "Ciphers aes128-ctr" if line.startswith("MACs") else "MACs hmac-sha2-256"
    with (
        _sshd(host, f"{line}\n{more}"),
        pytest.raises(ConnectFailed, match="no SSH connection"),
        connected(target(host)),
    ):
        raise AssertionError("it was reached")


@contextmanager
def _sshd(host: Host, lines: str) -> Iterator[None]:
    """Have the server of *host* keep to *lines*."""
    file = "/etc/ssh/sshd_config.d/00-test.conf"
    host.write(file, f"{lines}\n")
    host.root("systemctl reset-failed ssh.service; systemctl restart ssh.service")
    try:
        yield
    finally:
        host.root(f"rm {file}; systemctl reset-failed ssh.service; systemctl restart ssh.service")


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
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT", 1.0)
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


def test_files_are_written_whole_or_refused(host: Host) -> None:
    """Modes hold whatever the umask; a refusal names path and reason."""
    import io

    with connected(target(host)) as link:
        files = link.files()
        files.mkdir("/tmp/folder", 0o2750)
        files.write(io.BytesIO(b"x" * 100_000), "/tmp/folder/file", 0o640)
        files.symlinks([("file", "/tmp/folder/link")])
        files.rename("/tmp/folder/link", "/tmp/folder/renamed")
        found = files.look(["/tmp/folder/file", "/tmp/nothing"])
        assert {path: stat.size for path, stat in found.items()} == {"/tmp/folder/file": 100_000}
        with pytest.raises(DeploykitError, match=r"cannot write /etc/x: Permission denied"):
            files.write(io.BytesIO(b"x"), "/etc/x", 0o600)
    assert host.root("stat -c '%a %N' /tmp/folder /tmp/folder/*").stdout.split("\n")[:3] == [
        "2750 '/tmp/folder'",
        "640 '/tmp/folder/file'",
        "777 '/tmp/folder/renamed' -> 'file'",
    ]
