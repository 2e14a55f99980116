"""What is asked of an SFTP server, in which order, and what becomes of it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest

from deploykit.errors import TransferFailed
from deploykit.files import File
from deploykit.transport.sftp import requests
from deploykit.transport.sftp.packets import Attributes, Code, Kind
from tests.transport.scripted import HELLO, Said, attrs, data, files, handle, status, string

MTIME = struct.pack(">II", 1_600_000_000, 1_600_000_000)
SECRET = struct.pack(">II", 4, 0o600)


def offering(extension: str) -> bytes:
    """Return what a server says first that has one *extension*."""
    body = HELLO[4:] + string(extension.encode()) + string(b"1")
    return struct.pack(">I", len(body)) + body


def server(first: bytes = HELLO, **said: Callable[[int], bytes]) -> Said:
    """Return a server of a file that does all it is asked for, but for requests in *said*."""

    def answer(kind: int, number: int) -> bytes:
        name = Kind(kind).name.lower()
        if name in said:
            return said[name](number)
        if kind == Kind.OPEN:
            return handle(number)
        if kind == Kind.LSTAT:
            return attrs(number, Attributes(size=7))
        return status(number, Code.FAILURE if kind == Kind.READLINK else Code.OK)

    return Said(answer, first, piece=1 << 16)


def kinds(said: Said) -> list[Kind]:
    """Return the types of what was asked, in order."""
    return [Kind(packet[0]) for packet in said.asked]


def piece(size: int) -> list[bytes]:
    """Return the contents of a file of one piece."""
    return [b"x" * min(size, 10)]


def test_a_file_is_on_disk_before_it_gets_its_time() -> None:
    """And its mode; until then it is its owner's alone."""
    said = server(offering(requests.FSYNC))
    file = File("/f", 0o644, lambda size: iter(piece(size)), 1_600_000_000)
    files(said).write_all([file], lambda _size: None)
    assert kinds(said) == [
        *(Kind.OPEN, Kind.WRITE, Kind.EXTENDED, Kind.FSETSTAT, Kind.CLOSE),
    ]
    assert said.asked[0].endswith(SECRET)
    assert said.asked[3].endswith(MTIME)


@pytest.mark.parametrize("refused", ["write", "extended"])
def test_a_file_of_which_a_part_was_refused_gets_no_time(refused: str) -> None:
    """Nor does one that could not be put on disk."""
    said = server(
        offering(requests.FSYNC),
        **{refused: lambda number: status(number, Code.FAILURE)},
    )
    file = File("/f", 0o600, lambda size: iter(piece(size)), 1_600_000_000)
    with pytest.raises(TransferFailed, match=r"cannot (write|flush) /f"):
        files(said).write_all([file], lambda _size: None)
    assert not [packet for packet in said.asked if packet.endswith(MTIME)]


def test_a_server_that_flushes_nothing_is_not_asked_to() -> None:
    """Which it would refuse."""
    said = server()
    files(said).write(io.BytesIO(b"x"), "/f", 0o600)
    assert Kind.EXTENDED not in kinds(said)


def test_what_is_appended_names_the_place_where_the_file_ends() -> None:
    """Some servers take no notice of the flag that says so."""
    said = server()
    files(said).append("/f", b"more", 0o600)
    (written,) = [packet for packet in said.asked if packet[0] == Kind.WRITE]
    assert written.endswith(string(b"h") + struct.pack(">Q", 7) + string(b"more"))
    assert Kind.FSETSTAT not in kinds(said)


def test_a_long_appendix_stops_where_a_part_of_it_is_refused() -> None:
    """What follows would stand behind a gap."""
    said = server(write=lambda number: status(number, Code.FAILURE))
    with pytest.raises(TransferFailed, match="cannot write /f"):
        files(said).append("/f", bytes(100_000), 0o600)
    assert kinds(said).count(Kind.WRITE) == 1
    assert kinds(said)[-1] == Kind.CLOSE


@pytest.mark.parametrize("most", [600, 1000, 32767, 32768, 50_000])
@pytest.mark.parametrize("size", [None, 0, 200_000, 10**6])
def test_a_file_is_read_whole_from_a_server_that_gives_less(most: int, size: int | None) -> None:
    """However little it gives at once, and whatever size it says; what comes leaves no gap."""
    content = bytes(at * 7 % 251 for at in range(200_000))

    def read(number: int) -> bytes:
        at, wanted = struct.unpack(">QI", said.asked[-1][-12:])
        found = content[at : at + min(wanted, most)]
        return data(number, found) if found else status(number, Code.EOF)

    said = server(fstat=lambda number: attrs(number, Attributes(size=size)), read=read)
    assert files(said).read(["/f"]) == {"/f": content}


def test_a_lock_that_is_freed_while_we_look_is_tried_again() -> None:
    """It was in the way, and is there no more."""
    turns = [Code.FAILURE, Code.OK]
    said = server(
        rename=lambda number: status(number, turns.pop(0)),
        lstat=lambda number: status(number, Code.NO_SUCH_FILE),
        readlink=lambda number: status(number, Code.NO_SUCH_FILE),
    )
    assert files(said).move("/mine", "/lock")
    assert kinds(said).count(Kind.RENAME) == 2


def test_a_move_that_is_refused_for_ever_is_refused() -> None:
    """By its path, after a few tries."""
    said = server(
        rename=lambda number: status(number, Code.FAILURE),
        lstat=lambda number: status(number, Code.NO_SUCH_FILE),
        readlink=lambda number: status(number, Code.NO_SUCH_FILE),
    )
    with pytest.raises(TransferFailed, match="cannot name /lock"):
        files(said).move("/mine", "/lock")


def test_a_server_that_refuses_to_tell_its_limits_is_spoken_with_all_the_same() -> None:
    """As with one that has none."""
    said = server(
        offering(requests.LIMITS), extended=lambda number: status(number, Code.OP_UNSUPPORTED)
    )
    assert files(said).look(["/f"])["/f"].size == 7
