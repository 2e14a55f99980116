"""A tree as a stream: tar reads what was put in, and compression is done where it pays."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploykit.transport.base import File
from deploykit.transport.upload.archive import (
    CHUNK,
    UNBELIEVED,
    Folder,
    Link,
    Sized,
    archived,
    packed,
)

NAMES = ("plain", "a folder/é \\ \n -", "x" * 120, "/".join(["y" * 90] * 4), "Ω" * 80)


def made(path: str, content: bytes, size: int | None = None) -> Sized:
    """Return a file of an archive."""
    whole = File(path, 0o640, lambda most: pieces(content, most))
    return Sized(whole, len(content) if size is None else size, 1_700_000_000)


def pieces(content: bytes, most: int) -> Iterator[bytes]:
    """Give *content* in pieces."""
    return (content[at : at + most] for at in range(0, len(content), most))


@pytest.mark.parametrize("program", [["tar"], ["busybox", "tar"]])
def test_both_tars_unpack_it(tmp_path: Path, program: list[str]) -> None:
    """With long names in any script, empty files, whole blocks, folders and links."""
    contents = dict(zip(NAMES, (b"", b"x", b"y" * 512, bytes(CHUNK), b"z" * 513), strict=True))
    members: list[Folder | Link | Sized] = [Folder("a folder"), Folder("empty")]
    members += [made(path, content) for path, content in contents.items()]
    members.append(Link("a folder/link", "../plain"))
    subprocess.run(
        [*program, "-xof", "-"], cwd=tmp_path, input=b"".join(archived(members)), check=True
    )
    assert {path: (tmp_path / path).read_bytes() for path in NAMES} == contents
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "plain").stat().st_mtime == 1_700_000_000
    assert (tmp_path / "a folder" / "link").readlink() == Path("../plain")
    assert (tmp_path / "empty").is_dir()


def test_a_file_that_is_another_size_is_no_archive() -> None:
    """What follows it would be read as something else."""
    with pytest.raises(ValueError, match="has 3 bytes, not 4"):
        list(archived([made("file", b"abc", 4)]))


@dataclass
class Line:
    """A link and a compressor, in seconds a byte."""

    link: float
    cost: float
    now: float = 0.0

    def clock(self) -> float:
        """Return the time; compressing is what happens between two looks at it."""
        self.now += self.cost * CHUNK / 2
        return self.now

    def send(self, content: bytes) -> list[bytes]:
        """Return the members as which *content* was sent."""
        sent = []
        for member in packed(pieces(content, 10_000), self.clock):
            self.now += self.link * len(member)
            sent.append(member)
        assert gzip.decompress(b"".join(sent)) == content
        return sent


TEXT = b"".join(b"line %d of a text\n" % number for number in range(1_000_000))
HEX = random.Random(1).randbytes(10_000_000).hex().encode()  # it becomes little less than half
NOISE = random.Random(1).randbytes(10_000_000)


@pytest.mark.parametrize(
    ("content", "link", "share"),
    [
        (TEXT, 1e-6, (0.1, 0.5)),  # 1 MB/s: all of it is compressed
        (HEX, 1e-10, (0.7, 0.95)),  # 10 GB/s: what came before that was known, and the probes
        (NOISE, 1e-6, (1.0, 1.01)),  # nothing becomes less by it
    ],
)
def test_what_pays_is_compressed(content: bytes, link: float, share: tuple[float, float]) -> None:
    """By a compressor of 100 MB/s."""
    sent = Line(link, 1e-8).send(content)
    least, most = share
    assert least < sum(map(len, sent)) / len(content) <= most


def test_noise_is_stored_on_any_link() -> None:
    """Compressing it is tried now and then only."""
    sent = Line(1e-6, 1e-8).send(NOISE)
    stored = [member for member in sent if len(member) > CHUNK + 20]
    assert len(stored) > len(sent) * 0.8


def test_nothing_is_believed_of_what_buffers_swallow() -> None:
    """The first megabytes are compressed, however fast they seem to go."""
    first = TEXT[: UNBELIEVED // 2]
    sent = Line(0.0, 1e-8).send(first)
    assert sum(map(len, sent)) < len(first) / 2


def test_the_archive_is_gnu_tar_s() -> None:
    """Which is what both write: no extended headers of POSIX."""
    archive = b"".join(archived([made(name, b"x") for name in NAMES]))
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        assert [member.name.removeprefix("./") for member in found] == list(NAMES)
        assert not found.pax_headers
