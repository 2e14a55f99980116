"""A peer that is gone or frozen is noticed, whatever we are waiting for; a healthy one is not."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deploykit.errors import ConnectFailed, LinkLost
from deploykit.transport import ssh
from deploykit.transport.ssh import limits
from tests.farm import Host, Hosts, eventually
from tests.transport.links import connected, target

DEAD_AFTER = 3.0
REPOSITORY = Path(__file__).parents[2]
LISTENER = """
import sys
from deploykit import Host
from deploykit.transport import ssh
from deploykit.transport.ssh import limits
limits.DEAD_AFTER = float(sys.argv[4])
address, key, identity = sys.argv[1:4]
link = ssh.connect(Host(address, user="deploy", host_key=key, identity=identity))
for line in sys.stdin:
    print(link.execute("echo " + line.strip()).stdout.decode(), end="", flush=True)
"""
Act = Callable[[ssh.SSHTransport], Any]


class Endless(io.RawIOBase):
    """A file without an end."""

    def read(self, size: int = -1) -> bytes:
        """Return zeroes, and not more than a disk holds."""
        time.sleep(0.005)
        return bytes(max(size, 1))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEAD_AFTER", DEAD_AFTER)


def lost(link: ssh.SSHTransport, act: Act, trouble: Callable[[], None], began: Path) -> float:
    """Make *trouble* once *act* has begun; return how long after that the loss was noticed."""
    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(act, link)
        eventually(began.exists)
        trouble()
        at = time.monotonic()
        with pytest.raises(LinkLost):
            acting.result(DEAD_AFTER * 3)
        return time.monotonic() - at


def waiting(link: ssh.SSHTransport) -> None:
    """Wait for a command that says nothing."""
    link.execute("sleep 300")


def sending(link: ssh.SSHTransport) -> None:
    """Send more than anybody takes."""
    link.execute("sleep 300", bytes(8 << 20))


def uploading(link: ssh.SSHTransport) -> None:
    """Write a file that does not end."""
    link.files().write(Endless(), "/tmp/endless", 0o600)  # type: ignore[arg-type]  # it can be read


def asking(link: ssh.SSHTransport) -> None:
    """Ask one short thing after the other."""
    while True:
        link.execute("true")


def looking(link: ssh.SSHTransport) -> None:
    """Ask for one file after the other."""
    while True:
        link.files().look(["/etc/passwd"])


def beating(link: ssh.SSHTransport) -> None:
    """Hold something, and send a heartbeat again and again."""
    held = link.hold("cat")
    while True:
        held.beat()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("trouble", "act"),
    [
        *(("freeze", act) for act in (waiting, sending, uploading, asking, looking, beating)),
        *(("partition", act) for act in (waiting, uploading)),
    ],
)
def test_a_peer_that_went_silent_is_noticed(
    host: Host, act: Act, trouble: str, tmp_path: Path
) -> None:
    """Within the stated time, frozen or cut off, in whatever we do."""
    began = tmp_path / "began"

    def act_on(link: ssh.SSHTransport) -> None:
        link.execute("true")
        began.touch()
        act(link)

    with connected(target(host)) as link:
        assert lost(link, act_on, getattr(host, trouble), began) < DEAD_AFTER + 1.5
        with pytest.raises(LinkLost):
            link.execute("true", timeout=60)


def test_a_frozen_host_behind_another_is_noticed(hosts: Hosts, tmp_path: Path) -> None:
    """The connection to the jump host stands, and its kernel answers."""
    host, gate = hosts(2)
    config = Path.home() / ".ssh" / "config"
    config.parent.mkdir(mode=0o700)
    config.write_text(f"Host *\n  UserKnownHostsFile {host.known_hosts}\n")
    (tmp_path / "began").touch()
    aim = target(host, jump=f"deploy@{gate.ip}")
    with connected(aim) as link:
        link.execute("true")
        assert lost(link, waiting, host.freeze, tmp_path / "began") < DEAD_AFTER + 1.5
    host.thaw()
    with connected(aim) as link:
        link.execute("true")
        assert lost(link, waiting, gate.freeze, tmp_path / "began") < DEAD_AFTER + 1.5


def test_a_frozen_host_is_not_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel takes the connection, and no server ever speaks."""
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT", 1.0)
    host.freeze()
    began = time.monotonic()
    with pytest.raises(ConnectFailed):
        ssh.connect(target(host))
    assert time.monotonic() - began < 5


def test_a_long_silence_is_no_loss(host: Host) -> None:
    """A command that says nothing for longer than that, on a link where nothing else goes on."""
    with connected(target(host)) as link:
        assert link.execute(f"sleep {DEAD_AFTER * 1.5}; echo done").stdout == b"done\n"


def test_a_long_upload_is_no_loss(host: Host) -> None:
    """On a narrow link what we ask waits behind what we send."""
    content = bytes(2 << 20)
    with connected(target(host)) as link:
        link.execute("true")
        host.rate("4mbit")
        began = time.monotonic()
        link.files().write(io.BytesIO(content), "/tmp/big", 0o600)
        assert link.execute("wc -c; wc -c </tmp/big", content).stdout.split() == [b"2097152"] * 2
        assert time.monotonic() - began > DEAD_AFTER


def test_a_controller_that_was_stopped_for_long_goes_on(host: Host) -> None:
    """It has not listened meanwhile, which says nothing of the host."""
    words = [host.ip, host.host_key, str(host.identity), "2"]
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as controller:
        assert controller.stdin is not None
        assert controller.stdout is not None
        for word in (b"before\n", b"after\n"):
            controller.stdin.write(word)
            controller.stdin.flush()
            assert controller.stdout.readline() == word
            controller.send_signal(signal.SIGSTOP)
            time.sleep(4)  # twice as long as a silent peer would be given
            controller.send_signal(signal.SIGCONT)
        controller.stdin.close()
        assert controller.wait(20) == 0
