"""Compression is done where it pays, and not at all where the link outruns every compressor."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploykit.errors import TransferFailed
from deploykit.transport.upload.packers import GZIP, ZSTD, Member, Packer, chosen
from deploykit.transport.upload.packing import CHUNK, WINDOW, Pace, packed, streams
from tests.transport.test_archive import made, pieces

TEXT = b"".join(b"line %d of a text\n" % number for number in range(1_000_000))
HEX = random.Random(1).randbytes(10_000_000).hex().encode()  # it becomes little less than half
NOISE = random.Random(1).randbytes(10_000_000)
FAR, NEAR = 0.1, 0.0  # seconds of a round trip


@dataclass
class Line:
    """A link and a compressor, in seconds a byte, and a round trip in seconds."""

    link: float
    cost: float
    trip: float = FAR
    now: float = 0.0

    def clock(self) -> float:
        """Return the time, which passes only while something is being sent."""
        return self.now

    def compress(self, chunk: bytes, deflated: bool) -> Member:
        """Compress at this compressor's cost."""
        return replace(GZIP.pack(chunk, deflated), seconds=self.cost * len(chunk))

    def send(self, content: bytes) -> list[bytes]:
        """Return the members as which *content* was sent."""
        sent = []
        pace = Pace(self.trip, GZIP.cost)
        packer = replace(GZIP, pack=self.compress)
        for member in packed(pieces(content, 10_000), pace, packer, self.clock):
            self.now += self.link * len(member)
            sent.append(member)
        assert gzip.decompress(b"".join(sent)) == content
        return sent


@pytest.mark.parametrize(
    ("content", "link", "trip", "share"),
    [
        (TEXT, 1e-6, FAR, (0.1, 0.5)),  # 1 MB/s: all of it is compressed
        (HEX, 1e-10, NEAR, (0.9, 0.99)),  # 10 GB/s: the probes alone
        (HEX, 1e-10, FAR, (0.5, 0.6)),  # the same, but the window lets through 21 MB/s: all of it
        (NOISE, 1e-6, FAR, (1.0, 1.01)),  # nothing becomes less by it
    ],
)
def test_what_pays_is_compressed(
    content: bytes, link: float, trip: float, share: tuple[float, float]
) -> None:
    """By a compressor of 100 MB/s."""
    sent = Line(link, 1e-8, trip).send(content)
    least, most = share
    assert least < sum(map(len, sent)) / len(content) <= most


def test_a_far_link_is_never_taken_for_a_fast_one() -> None:
    """However quickly what is compressed goes off: it is the compressor that is slow then."""
    pace = Pace(FAR, GZIP.cost)
    files = [made(str(number), TEXT[: CHUNK * 4]) for number in range(200)]
    for is_packed, all_ in streams(files, pace, GZIP):
        assert is_packed
        for piece in all_:
            pace.sent(len(piece), 0.0)
    assert pace.link == FAR / WINDOW


def test_noise_is_stored_on_any_link() -> None:
    """Compressing it is tried now and then only."""
    sent = Line(1e-6, 1e-8).send(NOISE)
    stored = [member for member in sent if len(member) > CHUNK + 20]
    assert len(stored) > len(sent) * 0.8


def test_nothing_is_believed_of_what_buffers_swallow() -> None:
    """The first megabytes are compressed, however fast they seem to go."""
    first = TEXT[: WINDOW // 2]
    sent = Line(0.0, 1e-8).send(first)
    assert sum(map(len, sent)) < len(first) / 2


@pytest.mark.parametrize("packer", [GZIP, ZSTD])
def test_what_several_hosts_get_is_compressed_once(packer: Packer) -> None:
    """And costs each of them what it has cost."""
    chunk = TEXT[:CHUNK]
    assert packer.pack(chunk, True) is packer.pack(bytes(bytearray(chunk)), True)
    assert packer.pack(chunk, False) is not packer.pack(chunk, True)


@pytest.mark.parametrize("packer", [GZIP, ZSTD])
@pytest.mark.parametrize("content", [TEXT[:3_000_000], NOISE[:3_000_000], b"x"])
def test_what_is_packed_unpacks_as_one(packer: Packer, content: bytes) -> None:
    """By the command that the host is given, compressed or not."""
    for link in (FAR, NEAR):
        sent = b"".join(packed(pieces(content, 10_000), Pace(link, packer.cost), packer))
        unpacked = subprocess.run(
            packer.unpack.split(), input=sent, capture_output=True, check=True
        ).stdout
        assert unpacked == content


def test_zstd_is_chosen_where_both_sides_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else gzip, of which we need no program."""
    assert chosen(["gzip", "zstd"]) is ZSTD
    assert chosen(["gzip"]) is GZIP
    assert chosen([]) is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert chosen(["gzip", "zstd"]) is GZIP


@pytest.mark.parametrize("program", ["", "#!/bin/sh\nprintf half; exit 1\n"])
def test_a_compressor_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    """Nothing is sent in place of what it would have made."""
    monkeypatch.setenv("PATH", str(tmp_path))
    if program:
        (tmp_path / "zstd").write_text(program)
        (tmp_path / "zstd").chmod(0o755)
    with pytest.raises(TransferFailed, match="zstd on this machine failed"):
        list(packed([b"a text that nobody has packed"], Pace(FAR, ZSTD.cost), ZSTD))


def test_it_fails_where_its_pieces_fail() -> None:
    """And no thread is left that compresses for nobody."""

    def broken() -> Iterator[bytes]:
        yield TEXT
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(packed(broken(), Pace(FAR, GZIP.cost), GZIP))


@pytest.mark.parametrize("trip", [FAR, NEAR])
def test_a_link_begins_as_its_round_trip_lets_expect(trip: float) -> None:
    """Compressed where a window takes long to be answered, and as it is where it does not."""
    files = [made(str(number), TEXT[:1000]) for number in range(10)]
    ((is_packed, archive),) = [
        (is_packed, b"".join(all_))
        for is_packed, all_ in streams(files, Pace(trip, GZIP.cost), GZIP)
    ]
    assert is_packed == (trip == FAR)
    text = gzip.decompress(archive) if is_packed else archive
    with tarfile.open(fileobj=io.BytesIO(text)) as found:
        assert found.getnames() == [f"./{number}" for number in range(10)]


def test_a_link_that_is_another_is_noticed() -> None:
    """Near but slow, and then fast: each archive is whole, and no file is in two or none."""
    pace = Pace(NEAR, GZIP.cost)
    files = [made(str(number), TEXT[: CHUNK * 4]) for number in range(200)]
    archives: list[tuple[bool, list[str]]] = []
    for is_packed, all_ in streams(files, pace, GZIP):
        sent = bytearray()
        for piece in all_:
            sent += piece
            pace.sent(WINDOW, WINDOW * (1e-12 if archives else 1e-6))
        text = gzip.decompress(sent) if is_packed else bytes(sent)
        with tarfile.open(fileobj=io.BytesIO(text)) as found:
            archives.append((is_packed, found.getnames()))
    assert [is_packed for is_packed, _ in archives] == [False, True, False]
    names = [name for _, names in archives for name in names]
    assert names == [f"./{number}" for number in range(200)]
