"""Files as a tar archive: two programs read what was put in."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploykit.files import File
from deploykit.transport.upload.archive import PIECE, Sized, archived

NAMES = ("plain", "a folder/é \\ \n -", "x" * 120, "/".join(["y" * 90] * 4), "Ω" * 80, "z" * 98)


def made(path: str, content: bytes, size: int | None = None) -> Sized:
    """Return a file of an archive."""
    whole = File(path, 0o640, lambda most: pieces(content, most))
    return Sized(whole, len(content) if size is None else size, 1_700_000_000)


def pieces(content: bytes, most: int) -> Iterator[bytes]:
    """Give *content* in pieces."""
    return (content[at : at + most] for at in range(0, len(content), most))


@pytest.mark.parametrize("program", [["tar"], ["busybox", "tar"]])
def test_both_tars_unpack_it(tmp_path: Path, program: list[str]) -> None:
    """With long names in any script, empty files, whole blocks, and the folders they are in."""
    contents = dict(
        zip(NAMES, (b"", b"x", b"y" * 512, bytes(PIECE), b"z" * 513, bytes(2)), strict=True)
    )
    members = [made(path, content) for path, content in contents.items()]
    subprocess.run(
        [*program, "-xof", "-"], cwd=tmp_path, input=b"".join(archived(members)), check=True
    )
    assert {path: (tmp_path / path).read_bytes() for path in NAMES} == contents
    for path in NAMES:
        found = (tmp_path / path).stat()
        assert (found.st_mode & 0o777, found.st_mtime) == (0o640, 1_700_000_000)


def test_a_file_that_is_another_size_is_no_archive() -> None:
    """What follows it would be read as something else."""
    with pytest.raises(ValueError, match="has 3 bytes, not 4"):
        list(archived([made("file", b"abc", 4)]))


def test_the_archive_is_gnu_tar_s() -> None:
    """Which is what both write: no extended headers of POSIX."""
    archive = b"".join(archived([made(name, b"x") for name in NAMES]))
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        assert [member.name.removeprefix("./") for member in found] == list(NAMES)
        assert not found.pax_headers


@pytest.mark.parametrize("size", [0, 1, 511, (8 << 30) - 1, 8 << 30, 1 << 45])
def test_a_header_says_every_size(size: int) -> None:
    """Those that octal digits cannot say, too, as tarfile itself reads it."""
    first = next(archived([made("a/b", b"", size)]))
    info = tarfile.TarInfo.frombuf(first[:512], "utf-8", "strict")
    assert (info.name, info.size, info.mode, info.mtime) == ("./a/b", size, 0o640, 1_700_000_000)
