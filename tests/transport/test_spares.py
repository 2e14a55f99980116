"""Channels that are opened ahead: a command's only wait is for its answer."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paramiko
import pytest

from deploykit.errors import ConnectFailed, LinkLost, TransportError
from deploykit.transport import ssh
from deploykit.transport.ssh import limits
from deploykit.transport.ssh.link import waits
from deploykit.transport.ssh.ordering import order
from tests.farm import Host, eventually
from tests.transport.links import connected, retrying, target

REPOSITORY = Path(__file__).parents[2]
HOLDER = """
import sys
from deploykit import Host
from deploykit.transport import ssh
address, key, identity = sys.argv[1:]
link = ssh.connect(Host(address, user="deploy", host_key=key, identity=identity))
link.execute("true")
while len(link.links[0].spares) < 3:
    pass
print("there", flush=True)
sys.stdin.read()
"""


def shells(host: Host) -> int:
    """Return how many `sh` run on *host*."""
    return int(host.root("pgrep -c -u deploy -x sh || true").stdout)


def filled(link: ssh.SSHTransport, host: Host) -> None:
    """Wait until all spares of a connection are there, on both sides."""
    link.execute("true")
    eventually(lambda: len(link.links[0].spares) == shells(host) == limits.SPARES)


def ended(link: ssh.SSHTransport, host: Host) -> None:
    """Kill all spares, and wait until that is known here."""
    host.root("pkill -u deploy -x sh")
    eventually(lambda: not any(map(waits, link.links[0].spares)))


def test_a_command_waits_for_its_answer_only(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks opens no channel and starts no shell, which would be two more round trips."""
    with connected(target(host)) as link:
        filled(link, host)
        asked: list[threading.Thread] = []
        for kind, name in (
            (paramiko.Transport, "open_session"),
            (paramiko.Channel, "exec_command"),
        ):
            original = getattr(kind, name)

            def noted(*args: Any, original: Any = original, **options: Any) -> Any:
                asked.append(threading.current_thread())
                return original(*args, **options)

            monkeypatch.setattr(kind, name, noted)
        assert link.execute("cat", b"answer").stdout == b"answer"
        assert threading.current_thread() not in asked
        eventually(lambda: len(link.links[0].spares) == limits.SPARES)
        assert len(asked) == 2  # in the background, for the one that was used up


def test_many_at_once_are_served(host: Host) -> None:
    """With spares or without, and each gets its own answer."""
    with connected(target(host)) as link, ThreadPoolExecutor(6) as pool:
        answers = pool.map(lambda n: link.execute(f"echo {n}").stdout, range(60))
        assert list(answers) == [f"{n}\n".encode() for n in range(60)]


def test_commands_that_do_not_read_their_input_cost_no_connection(host: Host) -> None:
    """They end while it is being sent, also where an upload takes all of the line."""
    host.root("rm -f /tmp/much")
    with connected(target(host)) as link, ThreadPoolExecutor(1) as pool:
        stop = threading.Event()

        def upload() -> None:
            while not stop.is_set():
                link.files().write(io.BytesIO(bytes(4 << 20)), "/tmp/much", 0o600)

        uploading = pool.submit(upload)
        try:
            for number in range(50):
                assert link.execute("echo x", bytes(number << 14)).stdout == b"x\n"
        finally:
            stop.set()
        uploading.result(30)
        assert len(link.links) == 1


def test_nothing_goes_out_after_a_channel_s_end() -> None:
    """A server hangs up on who sends for a channel that it knows no more."""
    sent: list[bytes] = []

    class Transport:
        """Takes messages."""

        def _send_user_message(self, message: paramiko.Message) -> None:
            sent.append(message.asbytes())

    channel = paramiko.Channel(0)
    channel.transport = Transport()  # type: ignore[assignment]  # it acts as one
    through: Any = order(channel).transport
    for kind in (b"\x5e", b"\x61", b"\x60", b"\x5e"):  # data, close, the end of data, data
        message = paramiko.Message()
        message.add_bytes(kind)
        through._send_user_message(message)
    assert sent == [b"\x5e", b"\x61"]


def test_spares_end_with_the_connection(host: Host) -> None:
    """Closed or torn away: no shell of ours stays behind."""
    with connected(target(host)) as link:
        filled(link, host)
    eventually(lambda: shells(host) == 0)


def test_spares_end_with_a_controller_that_is_killed(host: Host) -> None:
    """Its kernel closes the connection, and that is the end of their input."""
    words = [host.ip, host.host_key, str(host.identity)]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == b"there\n"
        assert shells(host) > 0
        controller.send_signal(signal.SIGKILL)
    eventually(lambda: shells(host) == 0)


def test_a_spare_that_has_ended_is_not_used(host: Host) -> None:
    """Somebody killed them all: the next command opens a channel of its own."""
    with connected(target(host)) as link:
        filled(link, host)
        ended(link, host)
        assert link.execute("echo fine").stdout == b"fine\n"


def test_a_spare_that_ends_as_it_is_used_has_done_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is a lost link, and no answer with the exit code of a shell that read nothing."""
    with retrying(host) as transport:
        link = transport.open()
        assert isinstance(link, ssh.SSHTransport)
        filled(link, host)
        host.root("rm -f /tmp/done")
        ended(link, host)
        monkeypatch.setattr("deploykit.transport.ssh.link.waits", lambda _channel: True)
        with pytest.raises(LinkLost):
            link.execute("echo x >>/tmp/done")
        assert transport.execute("echo x >>/tmp/done; cat /tmp/done").stdout == b"x\n"


def test_a_host_that_is_gone_is_a_lost_link(host: Host) -> None:
    """Spares or not; nothing is taken for an answer."""
    with connected(target(host)) as link:
        filled(link, host)
        host.root("pkill -o -u deploy sshd")
        eventually(lambda: not link.links[0].alive)
        for ask in (lambda: link.execute("true"), lambda: link.hold("cat"), link.files):
            with pytest.raises(LinkLost):
                ask()


@pytest.fixture
def max_sessions(host: Host) -> Iterator[Any]:
    """Return a function that sets what sshd allows on one connection."""

    def allow(count: int) -> None:
        host.write("/etc/ssh/sshd_config.d/max.conf", f"MaxSessions {count}\n")
        host.root("systemctl reload ssh")
        eventually(lambda: _is_open(host))

    yield allow
    host.root("rm /etc/ssh/sshd_config.d/max.conf; systemctl reload ssh")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_where_few_sessions_are_allowed_there_are_more_connections(
    host: Host, max_sessions: Any, count: int
) -> None:
    """Something held, files, a long command, and many short ones meanwhile."""
    max_sessions(count)
    host.root("rm -f /tmp/file /tmp/go")
    with connected(target(host)) as link, ThreadPoolExecutor(1) as pool:
        held = link.hold("cat")
        long = pool.submit(link.execute, "until [ -e /tmp/go ]; do sleep 0.05; done; echo long")
        files = link.files()
        for number in range(10):
            assert link.execute(f"echo {number}").stdout == f"{number}\n".encode()
            files.write(io.BytesIO(b"x"), "/tmp/file", 0o600)
            held.beat()
        link.execute(": >/tmp/go")
        assert long.result(20).stdout == b"long\n"
        assert len(link.links) <= 5
    eventually(lambda: host.root("pgrep -c -u deploy -x 'sh|sshd|cat' || true").stdout == "0\n")


def test_a_host_that_allows_no_session_is_named(host: Host, max_sessions: Any) -> None:
    """It says what to change there, and no connection is tried after the other."""
    max_sessions(0)
    with connected(target(host)) as link:
        with pytest.raises(TransportError, match=f"{host.name} allows no further session") as error:
            link.execute("true")
        assert not isinstance(error.value, LinkLost)
        assert "MaxSessions" in error.value.then
        assert len(link.links) == 1


def _is_open(host: Host) -> bool:
    try:
        ssh.connect(target(host)).close()
    except ConnectFailed:
        return False
    return True
