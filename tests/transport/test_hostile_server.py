"""An SFTP server that means us harm: a clear error, soon, and in bounded memory."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploykit.errors import LinkLost, TransferFailed
from deploykit.files import Copy, Files
from deploykit.transport.sftp import looking, removing, requests
from deploykit.transport.sftp.packets import Attributes, Code, Kind
from tests.transport.fuzzing import BATCH, check, fuzz, mutated
from tests.transport.scripted import HELLO, Said, attrs, data, files, handle, names, packed, status

BREAKS = "host: its SFTP server does not keep to the protocol: "
FOLDER = Attributes(mode=0o40755, size=0, mtime=0)
MANY = 0xFFFFFFFF


def server(**said: Callable[[int], bytes]) -> Said:
    """Return a server that opens everything, and answers other types of requests as told."""

    def answer(kind: int, number: int) -> bytes:
        name = Kind(kind).name.lower()
        if name in said:
            return said[name](number)
        if kind in (Kind.OPEN, Kind.OPENDIR):
            return handle(number)
        if kind in (Kind.LSTAT, Kind.FSTAT):
            return attrs(number, FOLDER)
        return status(number, Code.OK if kind == Kind.CLOSE else Code.FAILURE)

    return Said(answer, piece=1 << 16)


def once(*answers: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Answer so, one after the other, and then that it is the end."""
    left = list(answers)
    return lambda number: left.pop(0)(number) if left else status(number, Code.EOF)


@pytest.mark.parametrize("name", [b"../up", b"/etc", b"a/b", b"a\0b", b"", b"..\0", b"a/"])
@pytest.mark.parametrize(
    "act", [lambda at: at.names("/f"), lambda at: at.remove(["/f"])], ids=["names", "remove"]
)
def test_a_name_leads_out_of_no_folder(name: bytes, act: Callable[[Files], Any]) -> None:
    """Not where it is listed, and least of all where it is removed."""
    said = server(readdir=once(lambda number: names(number, [b"good", name])))
    with pytest.raises(TransferFailed, match=f"{BREAKS}the name .* in /f"):
        act(files(said))
    assert not [packet for packet in said.asked if packet[0] in (Kind.REMOVE, Kind.RMDIR)]


def test_the_folder_itself_and_the_one_above_are_left_out() -> None:
    """They are in every listing, and no harm; nothing is done to them."""
    listed = (b".", b"..", b"...", b"file")
    said = server(
        readdir=once(lambda number: names(number, listed)),
        remove=status,
        rmdir=status,
    )
    files(said).remove(["/f"])
    removed = [packet[9:] for packet in said.asked if packet[0] == Kind.REMOVE]
    assert removed == [b"/f/...", b"/f/file"]


@pytest.mark.parametrize(
    ("act", "said", "error"),
    [
        ("look", {"lstat": lambda n: data(n, b"x")}, "data as the answer to LSTAT"),
        ("look", {"lstat": status}, "status as the answer to LSTAT"),
        ("look", {"lstat": lambda n: attrs(n + 9, FOLDER)}, "request 10, which is not under way"),
        ("look", {"lstat": lambda _: struct.pack(">I", MANY)}, f"a packet of {MANY} bytes"),
        ("look", {"lstat": lambda _: HELLO * 1000}, "an answer of type 2"),
        (
            "look",
            {"lstat": lambda n: packed(Kind.ATTRS, n, b"\x80" + b"\0" * 3 + b"\xff" * 4)},
            "early",
        ),
        ("names", {"readdir": lambda n: packed(Kind.NAME, n, b"\xff" * 4)}, "too early"),
        ("names", {"opendir": lambda n: handle(n, b"h" * 257)}, "a handle of 257 bytes"),
        ("target", {"readlink": lambda n: names(n, [])}, "0 targets of /f"),
        ("target", {"readlink": lambda n: names(n, [b"a", b"b"])}, "2 targets of /f"),
        ("read", {"read": lambda n: data(n, b"x" * 40_000)}, "40000 bytes of /f, where 32768 were"),
        (
            "read",
            {
                "fstat": lambda n: attrs(n, Attributes(size=1 << 62)),
                "read": lambda n: data(n, b"x" * 32768),
            },
            f"/f is {1 << 62} bytes long",
        ),
    ],
)
def test_what_no_server_may_say(
    act: str, said: dict[str, Callable[[int], bytes]], error: str
) -> None:
    """It is named, and nobody speaks with that server any more."""
    over = files(server(**said))
    with pytest.raises(TransferFailed, match=f"{BREAKS}.*{error}"):
        getattr(over, act)(["/f"] if act in ("look", "read") else "/f")
    assert not over.alive


@pytest.mark.parametrize("name", [requests.LIMITS, requests.STATVFS])
def test_an_answer_that_is_too_short(name: str) -> None:
    """Of an extension, when it is asked for at first or later."""
    text = name.encode()
    extension = struct.pack(">I", len(text)) + text + struct.pack(">I", 1) + b"2"
    first = struct.pack(">IBI", 5 + len(extension), Kind.VERSION, 3) + extension
    said = server(extended=lambda number: packed(Kind.EXTENDED_REPLY, number, b"short"))
    said.first = first
    with pytest.raises(TransferFailed, match="an answer without"):
        files(said).free("/f")


@pytest.fixture
def less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make less be too much, so that little has to be sent."""
    monkeypatch.setattr(looking, "LISTING", 1 << 20)
    monkeypatch.setattr(looking, "LONGEST", 1 << 20)
    monkeypatch.setattr(removing, "MOST", 5_000)


def endless_names(number: int) -> bytes:
    """List a hundred more."""
    return names(number, (b"name %d %d" % (number, at) for at in range(100)))


def endless_folders(number: int) -> bytes:
    """List as many more, each with as much in it."""
    return names(number, (b"d%d %d" % (number, at) for at in range(100)), mode=0o40755)


@pytest.mark.parametrize(
    ("act", "said", "error"),
    [
        ("names", {"readdir": endless_names}, "more than 1048576 bytes of names in /f"),
        ("remove", {"readdir": endless_folders}, "more than 1048576 bytes of names in /f"),
        ("read", {"read": lambda n: data(n, b"x" * 32768)}, "/f goes on after 1048576 bytes"),
        ("read", {"read": lambda n: data(n, b"x")}, "/f comes in pieces of 1 bytes"),
    ],
)
def test_what_has_no_end(
    less: None, act: str, said: dict[str, Callable[[int], bytes]], error: str
) -> None:
    """It is given up, and has not taken much more memory than it may."""
    over = files(server(**said))
    tracemalloc.start()
    try:
        with pytest.raises(TransferFailed, match=BREAKS + error):
            getattr(over, act)("/f" if act == "names" else ["/f"])
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("listed", "error"), [((b"d" * 255,), "a path of 4098 bytes"), ((b"a", b"b"), "more than 5000")]
)
def test_a_tree_without_end_is_not_removed_for_ever(
    less: None, listed: tuple[bytes, ...], error: str
) -> None:
    """Neither one that goes ever deeper, nor one that grows wider meanwhile."""
    turn = [0]

    def readdir(number: int) -> bytes:
        turn[0] += 1
        return names(number, listed, 0o40755) if turn[0] % 2 else status(number, Code.EOF)

    # One listing after the other, so that every second answer ends one.
    over = files(server(readdir=readdir))
    with pytest.raises(TransferFailed, match=BREAKS + error):
        over.remove(["/f"])


def test_a_greeting_without_end_is_no_server() -> None:
    """Whatever it is made of, and however it comes."""

    class Greeting(Said):
        """Says one thing and never anything else."""

        def recv(self, size: int) -> bytes:
            """Give some more of it."""
            return b"\0\0\0" * (size // 3)

    with pytest.raises(TransferFailed, match="host offers no SFTP"):
        files(Greeting(lambda _kind, _number: b""))


def test_what_a_server_gives_as_a_reason_is_not_shown_without_end() -> None:
    """Some of it is enough."""
    said = server(lstat=lambda number: status(number, Code.FAILURE + 1, "x" * 200_000))
    with pytest.raises(TransferFailed) as refused:
        files(said).look(["/f"])
    assert len(str(refused.value)) < 1_000


def test_a_server_that_goes_away_has_refused_nothing() -> None:
    """A copy that nobody knows of is not one that could not be made."""
    text = requests.COPY_DATA.encode()
    extension = struct.pack(">I", len(text)) + text + struct.pack(">I", 1) + b"1"
    said = server(extended=lambda _number: b"")
    said.first = struct.pack(">IBI", 5 + len(extension), Kind.VERSION, 3) + extension
    with pytest.raises(LinkLost):
        files(said).copy_all([Copy("/a", "/b", 0o600, 0)])


def test_a_sample_of_messages_is_read_or_refused() -> None:
    """Thousands that are nearly right; `nox -s faults` has a million of them."""
    fuzz(20 * BATCH)


def test_what_is_right_is_read() -> None:
    """Or the messages would not be nearly right."""
    assert all(check(packet) for packet in mutated(Random(0), 50, changes=0))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_whatever_is_said_ends_in_an_answer_or_in_our_errors(seed: int) -> None:
    """Each thing that may be asked, of a server whose every answer is nearly right."""
    random = Random(seed)
    left = [60]

    def answer(kind: int, number: int) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            return b""
        (packet,) = mutated(random, 1, random.choice((0, 0, 0, 1)), number, kind)
        return struct.pack(">I", len(packet)) + packet

    acts: tuple[Callable[[Files], Any], ...] = (
        lambda over: over.look(["/f"]),
        lambda over: over.names("/f"),
        lambda over: over.read(["/f"]),
        lambda over: over.target("/f"),
        lambda over: over.remove(["/f"]),
        lambda over: over.append("/f", b"x", 0o600),
        lambda over: over.move("/f", "/g"),
    )
    for act in acts:
        left[0] = 60
        try:
            act(files(Said(answer, piece=1 << 16)))
        except (TransferFailed, LinkLost):
            continue
