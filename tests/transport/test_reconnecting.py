"""A lost link is made again, for as long as it is worth it, and nothing is said or done twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from deploykit import Environment, Pipeline
from deploykit.engine.events import Event, Events
from deploykit.engine.fleet import reached
from deploykit.engine.session import Session
from deploykit.errors import (
    AuthenticationFailed,
    ConnectFailed,
    DeploykitError,
    HostKeyRefused,
    LinkLost,
)
from deploykit.files import Files
from deploykit.transport import retrying as module
from deploykit.transport.base import Completed, Held
from deploykit.transport.retrying import RetryingTransport
from deploykit.transport.ssh import limits
from tests.farm import Host, eventually
from tests.transport.links import retrying, session, target

Told = list[tuple[str, dict[str, Any]]]


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
        text = "cd /tmp; cat said; [ -e begun ] || { : >begun; sleep 300; }"
        host.write(on_host.runner, text, owner="deploy:deploy")
        call_it = threading.Thread(target=lambda: _unanswered(on_host, heard))
        call_it.start()
        eventually(lambda: bytes(heard) == b"first\n")
        host.root("echo second >>/tmp/said; pkill -o -u deploy sshd")
        call_it.join(30)
    assert bytes(heard) == b"first\nsecond\n"


def _unanswered(on_host: Session, heard: bytearray) -> None:
    with pytest.raises(DeploykitError, match="did not answer"):
        on_host.call("exec", on_output=heard.extend)


def test_what_goes_missing_for_a_while_is_waited_for(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers at first; it is told what is lost, and that it is back."""
    monkeypatch.setattr(limits, "DEAD_AFTER", 3.0)
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT", 1.0)
    told: Told = []
    with retrying(host, lambda event, **keys: told.append((event, keys))) as transport:
        for trouble in (host.refuse, host.partition, host.freeze):
            transport.execute("true")
            del told[:]
            trouble()
            host.root("pkill -o -u deploy sshd || true")
            asking = threading.Thread(target=transport.execute, args=("true",))
            asking.start()
            eventually(lambda: "link_lost" in dict(told))
            assert asking.is_alive()
            host.recover()
            asking.join(30)
            assert not asking.is_alive()
            assert [event for event, _ in told] == ["link_lost", "link_restored"]
            assert host.name in told[0][1]["error"]


def test_a_lost_link_is_told_with_its_host(host: Host) -> None:
    """Whoever watches a run sees which one, and when it is back."""
    told: list[Event] = []
    pipeline = Pipeline(app="shop", root="/srv/shop", stages=[])
    environment = Environment(pipeline, hosts=[target(host)], name="production")
    with reached(environment, Events([told.append])) as fleet:
        fleet.each(lambda on_host: on_host.query("true"))
        host.root("pkill -o -u deploy sshd")
        fleet.each(lambda on_host: on_host.query("true"))
    names = [(event["event"], event["host"]) for event in told]
    wanted = ["connected", "link_lost", "link_restored"]
    assert names == [(name, host.name) for name in wanted]


def test_a_reboot_is_waited_for(fresh_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that go down and come up hang up on us in the middle of logging in."""
    monkeypatch.setattr(limits, "DEAD_AFTER", 5.0)
    with session(fresh_host, "/tmp") as on_host:
        ask = "cat /proc/sys/kernel/random/boot_id /proc/1/stat | tail -n 1 | cut -d' ' -f22"
        before = on_host.query(ask).output
        fresh_host.root("systemctl reboot", check=False)
        eventually(lambda: on_host.query(ask).output != before, within=60)


def test_what_is_held_is_held_again(host: Host) -> None:
    """At the next heartbeat after the link was lost, by whatever connection there is then."""
    host.root("rm -f /tmp/beats; pkill -u deploy sshd || true")
    with retrying(host) as transport:
        held = transport.hold("while read -r _; do echo x >>/tmp/beats; done")
        held.beat()
        eventually(lambda: host.root("cat /tmp/beats || true").stdout == "x\n")
        host.root("pkill -u deploy sshd")
        eventually(lambda: host.root("pgrep -c -u deploy sshd || true").stdout == "0\n")
        held.beat()
        held.beat()
        eventually(lambda: host.root("cat /tmp/beats").stdout.count("x") >= 3)
        host.refuse()
        host.root("pkill -u deploy sshd")
        eventually(lambda: host.root("pgrep -c -u deploy sshd || true").stdout == "0\n")
        for _ in range(2):
            with pytest.raises(LinkLost):
                held.beat()
        host.heal()
        held.beat()
        held.close()


class Fake:
    """A transport that does what it is told."""

    def __init__(self, act: Callable[[], Completed]) -> None:
        self._act = act
        self.closed = False

    def execute(self, *_arguments: Any, **_options: Any) -> Completed:
        """Do it."""
        return self._act()

    def feed(self, *_arguments: Any) -> Completed:
        """Do it."""
        return self._act()

    def hold(self, *_arguments: Any) -> Held:
        """Hold nothing."""
        raise LinkLost("no")

    def files(self, **_options: bool) -> Files:
        """Have none."""
        raise LinkLost("no")

    def close(self) -> None:
        """Note it."""
        self.closed = True


class Tries:
    """What becomes of one attempt at connecting after the other, and of all that follow."""

    def __init__(self, *outcomes: Callable[[], Any], last: Callable[[], Any] | None = None) -> None:
        self.left = list(outcomes)
        self._last = last

    def __call__(self) -> Any:
        """Try."""
        if self.left or self._last is None:
            return self.left.pop(0)()
        return self._last()


DONE = Completed(0, b"", b"")


def failing(error: Exception) -> Callable[[], Any]:
    """Return a function that raises *error*."""

    def fail() -> Any:
        raise error

    return fail


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bear a lost link for half a second only."""
    monkeypatch.setattr(module, "RECONNECT_FOR", 0.5)
    monkeypatch.setattr(module, "WAIT", lambda _state: 0.05)


@pytest.mark.usefixtures("hasty")
def test_a_link_that_does_not_come_back_is_given_up() -> None:
    """After the stated time, as a lost link that says why there is no other."""
    refused = failing(ConnectFailed("no SSH connection to h1: refused", then="ssh h1 true"))
    tries = Tries(lambda: Fake(failing(LinkLost("cut"))), last=refused)
    transport = RetryingTransport(tries)
    began = time.monotonic()
    with pytest.raises(LinkLost, match="cannot be made again: no SSH connection") as error:
        transport.execute("true")
    assert 0.5 <= time.monotonic() - began < 2
    assert error.value.then == "ssh h1 true"
    began = time.monotonic()
    with pytest.raises(LinkLost, match="cannot be made again"):
        transport.execute("true")
    assert time.monotonic() - began < 0.3  # it has been waited for already
    tries.left.append(lambda: Fake(lambda: DONE))
    assert transport.execute("true") == DONE


@pytest.mark.usefixtures("hasty")
def test_a_link_that_is_lost_again_and_again_is_given_up() -> None:
    """That there is a connection is not enough; one that stood for longer is another loss."""
    transport = RetryingTransport(lambda: Fake(failing(LinkLost("cut"))))
    with pytest.raises(LinkLost, match="cut"):
        transport.execute("true")

    def stands() -> Completed:
        time.sleep(0.6)
        raise LinkLost("cut")

    acts = Tries(stands, stands, stands, lambda: DONE)
    transport = RetryingTransport(lambda: Fake(acts))
    assert transport.execute("true") == DONE


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", [AuthenticationFailed, HostKeyRefused])
def test_a_host_that_refuses_us_is_not_asked_again(kind: type[DeploykitError]) -> None:
    """Another key there, or none for us, is nothing that time mends."""
    tries = Tries(lambda: Fake(failing(LinkLost("cut"))), failing(kind("no")))
    transport = RetryingTransport(tries)
    with pytest.raises(kind):
        transport.execute("true")
    assert not tries.left


def test_the_first_connection_is_not_insisted_on() -> None:
    """A host that is down is named at once."""
    tries: list[int] = []

    def connect() -> Any:
        tries.append(1)
        raise ConnectFailed("refused")

    with pytest.raises(ConnectFailed):
        RetryingTransport(connect).execute("true")
    assert len(tries) == 1


def test_who_asks_to_stop_does_not_wait_for_a_lost_link() -> None:
    """Not even for the next attempt."""
    stop = threading.Event()
    down = failing(ConnectFailed("refused"))
    tries = Tries(lambda: Fake(failing(LinkLost("cut"))), last=down)

    def tell(event: str, **_keys: Any) -> None:
        threading.Timer(0.2, stop.set).start()

    transport = RetryingTransport(tries, tell, give_up=stop.is_set)
    began = time.monotonic()
    with pytest.raises(LinkLost):
        transport.execute("true")
    assert time.monotonic() - began < 10


def test_many_meet_one_loss() -> None:
    """It is told once, and one new connection serves them all."""
    told: list[str] = []
    made: list[Fake] = []
    both = threading.Barrier(2)

    def first() -> Completed:
        both.wait(10)
        raise LinkLost("cut")

    def connect() -> Fake:
        made.append(Fake(first if not made else lambda: DONE))
        return made[-1]

    transport = RetryingTransport(connect, lambda event, **_keys: told.append(event))
    asking = [threading.Thread(target=transport.execute, args=("true",)) for _ in range(2)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(10)
    assert (told, len(made)) == (["link_lost", "link_restored"], 2)
    assert made[0].closed
