"""The SFTP conversation: with OpenSSH's server over a pipe, and with one that says anything."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.transport.sftp import requests
from deploykit.transport.sftp.conversation import Conversation
from deploykit.transport.sftp.packets import (
    Attributes,
    Code,
    Flag,
    Handle,
    Kind,
    ProtocolError,
    Request,
    Status,
    Version,
)
from deploykit.transport.sftp.reading import Packets, reply, version
from deploykit.transport.sftp.tasks import Ahead, Refused, Task
from tests.transport.scripted import HELLO, Said, handle, status

SERVER = "/usr/lib/openssh/sftp-server"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
ATTRIBUTES = st.builds(
    Attributes,
    size=st.none() | st.integers(0, 2**64 - 1),
    mode=st.none() | st.integers(0, 2**32 - 1),
    mtime=st.none() | st.integers(0, 2**32 - 1),
)


@dataclass
class Pipe:
    """A program's input and output."""

    process: subprocess.Popen[bytes]

    def sendall(self, data: bytes) -> None:
        """Send all of *data*."""
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def recv(self, size: int) -> bytes:
        """Return what has come."""
        assert self.process.stdout
        return os.read(self.process.stdout.fileno(), size)


@pytest.fixture
def openssh() -> Iterator[Pipe]:
    """Return OpenSSH's server, on this machine."""
    with subprocess.Popen(
        [SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        yield Pipe(process)
        process.kill()


def put(path: str, data: bytes, piece: int = 1 << 15) -> Task[str]:
    """Write a file."""
    opened = yield requests.open_file(path, Flag.WRITE | Flag.CREATE | Flag.TRUNCATE, 0o600)
    for at in range(0, len(data), piece):
        yield Ahead(requests.write(opened.value, at, data[at : at + piece], path))
    yield Ahead(requests.close(opened.value, path))
    return path


def ask(request: Request) -> Task[object]:
    """Ask one thing."""
    return (yield request)


def test_many_files_at_once(openssh: Pipe, tmp_path: Path) -> None:
    """All of them, whole, also empty ones and ones of many pieces, and links and folders."""
    sftp = Conversation(openssh)
    contents = {f"{tmp_path}/fi le {n}": os.urandom(n * 997) for n in (*range(300), 3000)}
    done = set(sftp.all(put(path, data) for path, data in contents.items()))
    assert done == set(contents)
    assert {path: Path(path).read_bytes() for path in contents} == contents
    path = f"{tmp_path}/fi le 20"
    sftp.do(ask(requests.symlink("fi le 20", f"{tmp_path}/link")))
    assert Path(f"{tmp_path}/link").readlink() == Path("fi le 20")
    sftp.do(ask(requests.posix_rename(path, f"{tmp_path}/fi le 30")))
    assert Path(f"{tmp_path}/fi le 30").read_bytes() == contents[path]
    path = f"{tmp_path}/fi le 30"
    found = sftp.do(ask(requests.lstat(path)))
    assert isinstance(found, Attributes)
    assert (found.size, found.mode) == (20 * 997, 0o100600)


def test_a_refusal_is_named_and_the_rest_goes_on(openssh: Pipe, tmp_path: Path) -> None:
    """A task may mind it or not; answers that nobody waits for any more disturb nobody."""
    sftp = Conversation(openssh)
    with pytest.raises(Refused, match=f"cannot write {tmp_path}/none/x: No such file") as refused:
        sftp.do(put(f"{tmp_path}/none/x", b"x"))
    assert refused.value.status.code == Code.NO_SUCH_FILE

    def minds() -> Task[str]:
        try:
            yield requests.remove(f"{tmp_path}/none")
        except Refused as error:
            return error.request.act
        return ""

    assert sftp.do(minds()) == "remove"
    tasks = [put(f"{tmp_path}/{name}", b"x" * 100_000) for name in ("a", "none/b", "c")]
    with pytest.raises(Refused):
        list(sftp.all(tasks))
    assert sftp.do(put(f"{tmp_path}/d", b"there")) == f"{tmp_path}/d"
    assert Path(f"{tmp_path}/d").read_bytes() == b"there"


def test_a_refusal_of_what_is_not_waited_for_comes_at_the_latest_in_the_end() -> None:
    """A disk that is full in the middle of a file."""

    def answer(kind: int, number: int) -> bytes:
        if kind == Kind.OPEN:
            return handle(number)
        return status(number, Code.FAILURE if kind == Kind.WRITE else Code.OK, "Failure")

    with pytest.raises(Refused, match="cannot write /f: Failure"):
        Conversation(Said(answer)).do(put("/f", b"x" * 10))
    # After so much that nothing more may be under way it is noticed in the middle.
    read: list[int] = []

    def long() -> Task[None]:
        opened = yield requests.open_file("/f", Flag.WRITE)
        for at in range(1000):
            read.append(at)
            yield Ahead(requests.write(opened.value, at, bytes(1 << 15), "/f"))

    with pytest.raises(Refused):
        Conversation(Said(answer), window=1 << 18).do(long())
    assert len(read) < 20


def test_no_more_is_under_way_than_may_be() -> None:
    """Bytes of requests, whatever the tasks would like to send."""
    server = Said(lambda kind, number: (handle if kind == Kind.OPEN else status)(number))
    sftp = Conversation(server, window=1 << 17)
    list(sftp.all(put(f"/{n}", bytes(1 << 18), 1 << 12) for n in range(10)))
    assert server.longest < (1 << 17) + (1 << 13)
    assert len(server.asked) == 10 * (64 + 2)


def test_answers_in_any_order_are_given_to_whom_they_belong() -> None:
    """The draft allows a server to answer as it likes."""
    held: list[bytes] = []

    def answer(_kind: int, number: int) -> bytes:
        held.append(handle(number, str(number).encode()))
        if len(held) < 5:
            return b""
        out = b"".join(reversed(held))
        held.clear()
        return out

    sftp = Conversation(Said(answer))
    wanted = [ask(requests.open_file(f"/{n}", Flag.WRITE)) for n in range(5)]
    found = list(sftp.all(wanted))
    assert sorted(one.value for one in found if isinstance(one, Handle)) == [
        b"1",
        b"2",
        b"3",
        b"4",
        b"5",
    ]


def test_what_was_sent_ahead_may_be_answered_last() -> None:
    """A task that has its answer, and no room to go on, is not given another's."""
    held: list[bytes] = []

    def answer(kind: int, number: int) -> bytes:
        if number <= 2 or len(held) == 5:
            return handle(number)
        held.append(status(number) if kind == Kind.WRITE else handle(number, b"awaited"))
        return b"".join([held[3], *held[:3], held[4]]) if len(held) == 5 else b""

    def task() -> Task[tuple[bytes, bytes]]:
        first = yield requests.open_file("/f", Flag.WRITE)
        for at in range(3):
            yield Ahead(requests.write(first.value, at, b"x", "/f"))
        awaited = yield requests.open_file("/e", Flag.WRITE)
        last = yield requests.open_file("/g", Flag.WRITE)
        return awaited.value, last.value

    def other() -> Task[None]:
        yield requests.open_file("/f", Flag.WRITE)
        yield requests.open_file("/" + "x" * 200, Flag.WRITE)  # takes all the room there is

    found = list(Conversation(Said(answer), window=110).all([task(), other()]))
    assert (b"awaited", b"h") in found


@pytest.mark.parametrize(
    ("first", "answer", "error"),
    [
        (struct.pack(">IBI", 5, Kind.VERSION, 2), b"", "version 2"),
        (status(1), b"", "first packet is of type 101"),
        (struct.pack(">I", 0xFFFFFFFF), b"", "packet of 4294967295 bytes"),
        (struct.pack(">I", 0), b"", "packet of 0 bytes"),
        (HELLO, status(77), "request 77, which is not under way"),
        (HELLO, struct.pack(">IBI", 5, 150, 1), "answer of type 150"),
        (HELLO, struct.pack(">IBII", 9, Kind.HANDLE, 1, 1000), "ends 1000 bytes too early"),
        (HELLO, struct.pack(">IBII", 9, Kind.ATTRS, 1, 0xFFFFFFFF), "too early"),
        (HELLO, struct.pack(">IB", 1, Kind.STATUS), "too early"),
        (HELLO, status(1), "status as the answer to LSTAT"),
        (HELLO, handle(1), "handle as the answer to LSTAT"),
    ],
)
def test_a_server_that_does_not_keep_to_the_protocol(
    first: bytes, answer: bytes, error: str
) -> None:
    """An error that says what it did, at once and without much memory."""
    with pytest.raises(ProtocolError, match=error):
        Conversation(Said(lambda _kind, _number: answer, first)).do(ask(requests.lstat("/")))


def test_a_server_that_ends(openssh: Pipe) -> None:
    """At its first word, or later."""
    with pytest.raises(EOFError, match="has ended"):
        Conversation(Said(lambda _kind, _number: b"", b""))
    sftp = Conversation(openssh)
    openssh.process.kill()
    openssh.process.wait()
    with pytest.raises((EOFError, BrokenPipeError)):
        sftp.do(ask(requests.lstat("/")))


@given(st.binary(max_size=200))
def test_whatever_arrives_is_an_answer_or_an_error(data: bytes) -> None:
    """Never another exception."""
    for read in (version, reply):
        try:
            found: object = read(data)
        except ProtocolError as error:
            found = error
        assert isinstance(found, (Version, tuple, ProtocolError))


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.integers(1, 30))
def test_packets_arrive_however_they_are_cut(packets: list[bytes], size: int) -> None:
    """In pieces of any size."""
    stream = b"".join(struct.pack(">I", len(packet)) + packet for packet in packets)
    cut = Packets()
    found = [p for at in range(0, len(stream), size) for p in cut.feed(stream[at : at + size])]
    assert found == packets


@given(ATTRIBUTES, st.integers(0, 2**32 - 1))
def test_attributes_come_back(attributes: Attributes, number: int) -> None:
    """What is sent is what is read."""
    packet = struct.pack(">BI", Kind.ATTRS, number) + attributes.encoded()
    atime = attributes.mtime
    assert reply(packet) == (number, Attributes(**{**attributes.__dict__, "atime": atime}))


@given(TEXTS, st.integers(0, 2**32 - 1))
def test_a_status_comes_back(message: str, number: int) -> None:
    """With its message, in whatever language."""
    assert reply(status(number, 4, message)[4:]) == (number, Status(4, message))
    assert reply(struct.pack(">BII", Kind.STATUS, number, 2)) == (number, Status(2, ""))
