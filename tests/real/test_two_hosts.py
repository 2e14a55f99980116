"""Hosts that disagree, are gone, or are left out: no lock is lost, and no host is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploykit import Environment, Pipeline
from deploykit import Host as Target
from deploykit.engine import api, lock
from deploykit.engine.events import Event
from deploykit.errors import ConnectFailed, JournalError, LockHeld, Refused
from deploykit.stages import Publish, Shell, Transfer
from deploykit.transport import retrying
from deploykit.transport.ssh import limits
from tests.farm import Host, Hosts

ROOT = "/srv/shop"
MARK = Shell("mark", do="echo do >>$DEPLOYKIT_ROOT/log", undo="echo undo >>$DEPLOYKIT_ROOT/log")
FAIL = Shell("fail", do="exit 1")


@pytest.fixture
def pair(hosts: Hosts) -> tuple[Host, Host]:
    """Return two hosts on which nothing was deployed yet; the first is the first by name."""
    first, second = hosts(2)
    for host in (first, second):
        host.root(f"rm -rf {ROOT}; install -d -o deploy -g deploy {ROOT}")
    return first, second


@pytest.fixture
def make(pair: tuple[Host, Host], tmp_path: Path) -> Callable[..., Environment]:
    """Return a function that makes an environment of stages on both hosts, or on *hosts*."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("x")

    def made(*stages: Any, hosts: tuple[Host, ...] = pair) -> Environment:
        targets = [
            Target(h.ip, user="deploy", name=h.name, identity=str(h.identity), host_key=h.host_key)
            for h in hosts
        ]
        pipeline = Pipeline(app="shop", root=ROOT, stages=stages)
        return Environment(pipeline, hosts=targets, name="production", project=tmp_path)

    return made


def log(host: Host) -> list[str]:
    """Return what the stages did on *host*."""
    return host.read(f"{ROOT}/log").split() if host.exists(f"{ROOT}/log") else []


def is_locked(host: Host) -> bool:
    """Return whether somebody holds the lock on *host*."""
    return host.exists(f"{ROOT}/.deploykit/lock")


def test_a_lock_is_taken_on_every_host_or_on_none(
    make: Callable[..., Environment], pair: tuple[Host, Host]
) -> None:
    """Held on the second, it is given back on the first."""
    first, second = pair
    api.lock_acquire(make(hosts=(second,)), "the disk is being replaced")
    with pytest.raises(LockHeld, match="the disk is being replaced"):
        make(MARK).run()
    assert (is_locked(first), is_locked(second)) == (False, True)
    assert log(first) == []


def test_a_takeover_that_fails_frees_nothing(
    make: Callable[..., Environment], pair: tuple[Host, Host]
) -> None:
    """The lock of an unfinished run stays on the host where it could be taken again."""
    first, second = pair
    shop = make(MARK)
    with api.connected(shop) as fleet:
        fleet.each(lambda session: session.prepare())
        lock.take(fleet, "20261104T101512Z-0badcafe", "run")
        second.root(f"rm -rf {ROOT}/.deploykit/lock; touch {ROOT}/.deploykit/epoch.new")
        second.root(f"chown -R root {ROOT}/.deploykit; chmod -R a+rX {ROOT}/.deploykit")
        with pytest.raises(Exception, match="cannot write in"):
            lock.take_over(fleet, "20261104T101512Z-0badcafe", "resume")
    assert is_locked(first)


def test_a_host_that_is_down_at_the_start_can_be_left_out(
    make: Callable[..., Environment], pair: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 names the option; the run without it can be undone without it, too."""
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT", 1.0)
    first, second = pair
    second.linkdown()
    shop = make(Transfer("app"), MARK)
    with pytest.raises(ConnectFailed, match=f"host {second.name}") as down:
        shop.run()
    assert down.value.exit_code == 2
    assert shop.run(without=[second.name]).ok
    with pytest.raises(ConnectFailed):
        shop.rollback()
    assert shop.rollback(without=[second.name]).exit_code == 0
    assert log(first) == ["do", "undo"]
    second.heal()
    assert log(second) == []
    assert shop.run(again=True).ok
    assert (log(first)[2:], log(second)) == (["do"], ["do"])


def test_an_unfinished_run_on_some_hosts_is_finished_on_those(
    make: Callable[..., Environment], pair: tuple[Host, Host]
) -> None:
    """A lock on a host that it left out is somebody else's business."""
    first, second = pair
    stuck = Shell("stuck", do="true", undo="[ -e mended ]")
    shop = make(MARK, stuck, FAIL)
    assert shop.run(without=[second.name]).exit_code == 3
    api.lock_acquire(make(hosts=(second,)), "the disk is being replaced")
    first.root(f"touch {ROOT}/mended")
    assert shop.rollback().exit_code == 0
    assert (is_locked(first), is_locked(second)) == (False, True)
    assert log(first) == ["do", "undo"]


def test_a_failure_on_one_host_is_undone_on_both(
    make: Callable[..., Environment], pair: tuple[Host, Host]
) -> None:
    """Where the stage went well, too."""
    first, second = pair
    second.root(f"touch {ROOT}/broken")
    result = make(MARK, Shell("half", do='[ ! -e "$DEPLOYKIT_ROOT/broken" ]')).run()
    assert (result.exit_code, result.state) == (1, "rolled_back")
    assert f"half failed on {second.name}" in str(result.error)
    assert (log(first), log(second)) == (["do", "undo"], ["do", "undo"])


def test_an_undo_that_fails_on_one_host_is_finished_on_the_other(
    make: Callable[..., Environment], pair: tuple[Host, Host]
) -> None:
    """And nothing earlier is undone under it: exit code 3 until it is mended."""
    first, second = pair
    second.root(f"touch {ROOT}/broken")
    undo = '[ ! -e "$DEPLOYKIT_ROOT/broken" ]; echo undo-top >>$DEPLOYKIT_ROOT/log'
    shop = make(MARK, Shell("top", do="true", undo=undo), FAIL)
    result = shop.run()
    assert (result.exit_code, result.state) == (3, "stuck")
    assert f"cannot be undone on {second.name}" in str(result.error)
    assert (log(first), log(second)) == (["do", "undo-top"], ["do"])
    second.root(f"rm {ROOT}/broken")
    assert shop.rollback().exit_code == 0
    assert log(second) == ["do", "undo-top", "undo"]
    assert log(first)[-1] == "undo"


def test_a_host_that_vanishes_in_a_run_leaves_exit_code_3(
    make: Callable[..., Environment], pair: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not 2, which would mean that nothing was touched; the first error is told; the lock stays."""
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT", 1.0)
    monkeypatch.setattr(limits, "DEAD_AFTER", 6.0)
    monkeypatch.setattr(retrying, "RECONNECT_FOR", 5.0)
    first, second = pair
    told: list[Event] = []

    def pull(event: Event) -> None:
        told.append(event)
        if event["event"] == "stage_started" and event["stage"] == "slow":
            second.linkdown()

    shop = make(MARK, Shell("slow", do="sleep 1"))
    result = api.run(shop, listeners=[pull])
    assert result.exit_code == 3
    assert second.name in str(result.error)
    assert "slow failed" in str(result.error)
    assert [event["event"] for event in told if event["event"] == "lock_not_freed"]
    assert is_locked(first)
    second.heal()
    with pytest.raises(Refused, match="is unfinished"):
        shop.run()
    assert shop.rollback().exit_code == 0
    assert (log(first), log(second)) == (["do", "undo"], ["do", "undo"])
    assert not is_locked(first)
    assert not is_locked(second)


def test_the_others_go_back_as_far_as_their_publish(
    make: Callable[..., Environment], pair: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a host gone, the rest serve the old release, and nothing before that is undone yet."""
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT", 1.0)
    monkeypatch.setattr(limits, "DEAD_AFTER", 6.0)
    monkeypatch.setattr(retrying, "RECONNECT_FOR", 5.0)
    first, second = pair

    def pull(event: Event) -> None:
        if event["event"] == "stage_started" and event["stage"] == "slow":
            second.linkdown()

    slow = Shell("slow", do="sleep 1")
    result = api.run(make(Transfer("app"), MARK, Publish(), slow), listeners=[pull])
    assert (result.exit_code, result.state) == (3, "stuck"), result.error
    assert second.name in str(result.error)
    assert not first.exists(f"{ROOT}/current")
    assert log(first) == ["do"]
    second.heal()
    assert second.exists(f"{ROOT}/current")
    again = make(Transfer("app")).rollback()
    assert again.exit_code == 0, again.error
    assert (log(first), log(second)) == (["do", "undo"], ["do", "undo"])
    assert not second.exists(f"{ROOT}/current")


def test_a_retired_host_keeps_nothing_open(
    make: Callable[..., Environment], pair: tuple[Host, Host]
) -> None:
    """Old runs on it are finished, and are not undone by halves."""
    first, _ = pair
    assert make(MARK).run().ok
    alone = make(MARK, hosts=(first,))
    assert api.status(alone).unfinished_run == ""
    with pytest.raises(JournalError, match="no longer names"):
        alone.rollback()
    assert not is_locked(first)
    assert log(first) == ["do"]
    assert alone.run().ok
    assert alone.rollback().exit_code == 0
