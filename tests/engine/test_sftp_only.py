"""The lock, the epochs and the records of a host without a shell, by its files alone."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_none

from deploykit.engine import journal
from deploykit.engine.sftp_only.records import Records
from deploykit.engine.sftp_only.session import SftpSession
from deploykit.errors import ConfigurationError, Fenced, LinkLost, TransportError
from deploykit.layout import Layout
from deploykit.scrub import Scrubber
from deploykit.transport import retrying
from deploykit.transport.local import LocalTransport
from deploykit.transport.retrying import RetryingTransport


class Flaky(LocalTransport):
    """A connection that is lost in one call of its files: before it is done, or after."""

    def __init__(self, plan: Losses) -> None:
        super().__init__()
        self._plan = plan

    def files(self, *, apart: bool = False) -> Any:
        """Return files that are lost as planned."""
        return _FlakyFiles(super().files(apart=apart), self._plan)


class Losses:
    """Which call loses the link, counted from 0, and whether it is carried out before that."""

    def __init__(self, at: int = -1, *, done: bool = False) -> None:
        self.at, self.done, self.calls = at, done, 0


class _FlakyFiles:
    def __init__(self, inner: Any, plan: Losses) -> None:
        self._inner, self._plan = inner, plan

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._calling(found) if callable(found) else found

    def _calling(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*words: Any, **options: Any) -> Any:
            plan = self._plan
            plan.calls += 1
            if plan.calls - 1 != plan.at:
                return call(*words, **options)
            if plan.done:
                call(*words, **options)
            raise LinkLost("the test has cut it")

        return called


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without a pause."""
    monkeypatch.setattr(retrying, "WAIT", wait_none())


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SftpSession]:
    """Return a function that makes sessions of one host."""

    def made(losses: Losses | None = None) -> SftpSession:
        transport = RetryingTransport(lambda: Flaky(losses or Losses()))
        return SftpSession("web", transport, Layout(str(tmp_path / "site")), Scrubber())

    return made


def owner(name: str) -> str:
    """Return the owner that *name* writes into a lock."""
    return json.dumps({"by": name, "reason": "", "at": ""})


def test_one_holds_the_lock(make: Callable[..., SftpSession]) -> None:
    """Until he frees it; the epoch grows with each taking."""
    session = make()
    assert session.holding() is None
    assert session.lock("one", 0, "-", owner("a")) == ("locked", "1")
    held = session.holding()
    assert held
    assert (held.run, held.owner, held.here) == ("one", owner("a"), "connected")
    assert make().lock("two", 0, "-", owner("b")) == ("held",)
    assert make().unlock("two", "-") == ("notmine",)
    assert session.epoch() == 1  # who did not get it has fenced nobody
    assert session.unlock("one", "1") == ("unlocked",)
    assert session.holding() is None
    assert make().lock("two", 7, "-", owner("b")) == ("locked", "7")
    with pytest.raises(Fenced):
        make().unlock("two", "6")
    assert make().unlock("two", "-") == ("unlocked",)
    assert session.epoch() == 8  # by force: whoever held it may only sleep


def test_of_many_at_once_one_gets_it(make: Callable[..., SftpSession]) -> None:
    """Whoever else asks at the same moment is told so, and leaves nothing."""
    make().prepare()
    answers: list[tuple[str, ...]] = []

    def take(number: int) -> None:
        answers.append(make().lock(f"run {number}", 0, "-", owner(str(number))))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [*[("held",)] * 7, ("locked", "1")]
    assert list(Path(make().layout.private).glob(".*")) == []


def test_of_many_who_take_over_one_gets_it(make: Callable[..., SftpSession]) -> None:
    """All have seen the same epoch; one follows it."""
    make().lock("run", 0, "-", owner("dead"))
    answers: list[Any] = []

    def take(number: int) -> None:
        try:
            answers.append(make().lock("run", 2, "1", owner(str(number))))
        except Fenced as fenced:
            answers.append(fenced.epoch)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(("locked", "2")) == 1
    assert make().epoch() == 2


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", ["take", "take over", "free", "force"])
def test_a_link_that_is_lost_at_any_call(
    make: Callable[..., SftpSession], tmp_path: Path, verb: str, done: bool
) -> None:
    """What is asked again is done once: the lock is ours, or free, and nothing is left over."""
    at = 0
    while True:
        root = make().layout.root
        os.system(f"rm -rf '{root}'")  # a folder of this test
        losses = Losses(at, done=done)
        if verb != "take":
            make().lock("run", 0, "-", owner("a"))
        session = make(losses)
        if verb == "take":
            assert session.lock("run", 0, "-", owner("a"))[0] == "locked"
        elif verb == "take over":
            assert session.lock("run", 2, "1", owner("b"))[0] == "locked"
        else:
            assert session.unlock("run", "1" if verb == "free" else "-")[0] in (
                "unlocked",
                "notmine",
            )
        held = make().holding()
        assert (held.owner if held else "") == {"take": owner("a"), "take over": owner("b")}.get(
            verb, ""
        )
        if held:
            assert make().unlock("run", str(make().epoch())) == ("unlocked",)
        if losses.calls <= at:
            break
        at += 1
    assert at > 3


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_records_are_there_once(make: Callable[..., SftpSession], done: bool) -> None:
    """Wherever the link is lost; each with the next number."""
    session = make()
    session.prepare()
    file = "runs/r/journal.jsonl"
    for at in range(8):
        losses = Losses(at, done=done)
        make(losses).append(file, [{"kind": "began", "n": at}, {"kind": "ended", "n": at}], 0)
        assert losses.calls > at or at > 3
    records = session.records(session.layout.journal("r"))
    assert [record["seq"] for record in records] == list(range(1, 17))
    assert [(r["kind"], r["n"]) for r in records] == [
        (kind, at) for at in range(8) for kind in ("began", "ended")
    ]
    assert {record["v"] for record in records} == {1}


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_records_of_one_controller_are_there_once(
    make: Callable[..., SftpSession], done: bool
) -> None:
    """Also where it knows the number of the last one, and need not look."""
    session = make()
    session.prepare()
    at = 0
    while True:
        file, losses = f"runs/{at}/journal.jsonl", Losses(at, done=done)
        controller = make(losses)
        for number in range(3):
            controller.append(file, [{"kind": "began", "n": number}, {"kind": "ended"}], 0)
        records = session.records(session.layout.journal(str(at)))
        assert [record["seq"] for record in records] == list(range(1, 7))
        assert [r["n"] for r in records if r["kind"] == "began"] == [0, 1, 2]
        if losses.calls <= at:
            break
        at += 1
    assert at > 8


@pytest.mark.parametrize("arrived", [0, 1, 40, 75, 1000])
def test_a_message_of_which_a_part_arrived_is_gone_on_with(
    make: Callable[..., SftpSession], arrived: int
) -> None:
    """Byte by byte where it ended."""
    session = make()
    session.prepare()
    path = session.layout.journal("r")
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text('{"v":1,"seq":4,"torn')
    tries: list[int] = []

    class Cutting(LocalTransport):
        """A connection that is lost in the middle of the first message."""

        def files(self, *, apart: bool = False) -> Any:
            """Return files of which the first `append` is cut."""
            inner: Any = super().files(apart=apart)
            whole = inner.append

            def cut(where: str, data: bytes, mode: int) -> None:
                tries.append(len(data))
                if len(tries) == 1:
                    whole(where, data[:arrived], mode)
                    raise LinkLost("the test has cut it")
                whole(where, data, mode)

            inner.append = cut
            return inner

    records = [{"kind": "plan", "n": number} for number in range(3)]
    Records(RetryingTransport(Cutting)).append(path, records, lambda _files: None)
    text = Path(path).read_text()
    assert text.startswith('{"v":1,"seq":4,"torn\n')
    assert [r["n"] for r in journal.parse(text)] == [0, 1, 2]
    assert tries[1] == max(0, tries[0] - arrived)


def test_another_epoch_stops_records_and_the_heart(make: Callable[..., SftpSession]) -> None:
    """Whoever was taken over writes nothing more."""
    session = make()
    session.lock("run", 0, "-", owner("a"))
    stand = session.stand("run", 1)
    heartbeat = Path(session.layout.private) / "lock" / "heartbeat"
    os.utime(heartbeat, (0, 0))
    stand.beat()
    assert heartbeat.stat().st_mtime > 0
    held = session.holding()
    assert held
    assert held.idle < 60
    make().lock("run", 2, "1", owner("b"))
    os.utime(heartbeat, (0, 0))
    stand.beat()
    assert heartbeat.stat().st_mtime == 0
    held = session.holding()
    assert held
    assert held.idle > time.time() - 100
    with pytest.raises(Fenced):
        session.append("runs/run/journal.jsonl", [{"kind": "back"}], 1)
    stand.close()


def test_what_needs_a_shell_is_refused(make: Callable[..., SftpSession]) -> None:
    """By an error that says so, before anything is asked."""
    for ask in (lambda: make().query("true"), lambda: make().call("exec")):
        with pytest.raises(ConfigurationError, match="web has no shell"):
            ask()


def test_a_root_that_cannot_be_made(make: Callable[..., SftpSession], tmp_path: Path) -> None:
    """Nothing was touched, and the error names the folder."""
    (tmp_path / "site").write_text("a file")
    with pytest.raises(TransportError, match=r"no right to write in .*/site") as raised:
        make().lock("run", 0, "-", owner("a"))
    assert raised.value.state == "nothing was touched"


def test_looking_offers_no_change(make: Callable[..., SftpSession]) -> None:
    """What a plan is given can only look."""
    looking = make().files_to_look_at()
    assert looking.names("/") is not None
    assert not hasattr(looking, "remove")
