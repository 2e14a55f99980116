"""Uploads over SFTP: what is there is what was sent, or it is an error."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random

import pytest

from deploykit.errors import Interrupted, TransferFailed
from deploykit.release import Manifest
from deploykit.shell import quote
from deploykit.source import read_tree
from deploykit.transport.upload import Earlier, present, upload
from tests.farm import Host, Hosts
from tests.transport.cutting import Relay
from tests.transport.links import session, target

FOLDER = "/srv/up load"


@pytest.fixture(autouse=True, params=["stream", "sftp"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the host unpack a stream, or lack the tools for that."""
    if request.param == "sftp":
        monkeypatch.setattr(present, "UNPACKS", "false")
    return str(request.param)


@pytest.fixture
def folder(hosts: Hosts) -> Host:
    """Return a host with a small disk and an empty folder for the upload."""
    host = hosts(1, disk="64M")[0]
    host.root(f"rm -rf '{FOLDER}'*; install -d -o deploy /srv '{FOLDER}.1'")
    return host


def send(host: Host, source: Path, earlier: Earlier | None = None) -> list[dict[str, int]]:
    """Send *source*; return what was told."""
    told: list[dict[str, int]] = []

    def tell(**keys: int) -> None:
        told.append(keys)

    entries = read_tree(source).entries
    with session(host) as place:
        upload(place, source, entries, FOLDER, 1, tell, lambda: None, earlier)
    return told


def test_a_disk_that_is_full_is_no_success(folder: Host, tmp_path: Path) -> None:
    """Every piece's answer is looked at, and the file is named."""
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    folder.fill()
    with pytest.raises(TransferFailed, match=r"cannot write .*/file: (refused \(disk|.*No space)"):
        send(folder, tmp_path)


def test_what_is_there_whole_is_not_sent_again(folder: Host, tmp_path: Path) -> None:
    """An upload that was cut goes on with what is missing or differs."""
    for name in ("whole", "half", "missing"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    folder.write(f"{FOLDER}.1/whole", "whole" * 1000, owner="deploy:deploy")
    folder.write(f"{FOLDER}.1/half", "half" * 10, owner="deploy:deploy")
    told = send(folder, tmp_path)
    assert (told[-1]["of"], told[-1]["done"]) == (2, 4000 + 7000)
    sizes = folder.root(f"cd '{FOLDER}.1'; stat -c %s half missing whole").stdout.split()
    assert sizes == ["4000", "7000", "5000"]


def released(host: Host, source: Path) -> Earlier:
    """Have *host* hold what is in *source* as a release, with its manifest."""
    earlier = Earlier("/srv/the 'old'", "/srv/old.json")
    entries = read_tree(source).entries
    host.root(f"rm -rf {quote(earlier.folder)}* /srv/old.json")
    with session(host) as place:
        host.root(f"install -d -o deploy {quote(earlier.folder)}.1")
        upload(place, source, entries, earlier.folder, 1, lambda **_: None, lambda: None)
    host.root(f"mv {quote(earlier.folder)}.1 {quote(earlier.folder)}")
    host.write(earlier.manifest, Manifest(entries).to_json())
    return earlier


def modes(host: Host) -> dict[str, str]:
    """Return the modes of everything in the folder of the upload, by path."""
    found = host.root(f"cd '{FOLDER}.1'; find . -mindepth 1 -printf '%m %P\\0'").stdout
    lines = (line.partition(" ") for line in found.split("\0") if line)
    return {path: mode for mode, _, path in lines}


def test_only_what_has_changed_is_sent(folder: Host, tmp_path: Path) -> None:
    """The rest is copied from the release before, moved files too, and shares nothing with it."""
    old, new = tmp_path / "old", tmp_path / "new"
    names = ["same", "deep/er/same", 'it\'s "$odd" \\ na\nme', "-n", "moved", "readonly", "other"]
    for name in names:
        file = old / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{name} " * 100)
    (old / "readonly").chmod(0o444)
    shutil.copytree(old, new)
    (new / "new folder").mkdir()
    (new / "moved").rename(new / "new folder" / "new name")
    (new / "other").write_text("another")
    (new / "same").chmod(0o755)
    (new / "link").symlink_to("same")
    earlier = released(folder, old)
    told = send(folder, new, earlier=earlier)
    assert (told[-1]["of"], told[-1]["done"]) == (1, len("another"))
    entries = read_tree(new).entries
    assert modes(folder) == {entry.path: f"{entry.mode:o}" for entry in entries}
    sums = folder.root(f"cd '{FOLDER}.1'; find . -type f -exec sha256sum -z {{}} +").stdout
    assert sorted(line[:64] for line in sums.split("\0") if line) == sorted(
        entry.sha256 for entry in entries if entry.sha256
    )
    folder.root(f"echo appended >>'{FOLDER}.1/same'")
    assert folder.root(f"cat {quote(earlier.folder)}/same").stdout == "same " * 100


def test_what_an_earlier_release_does_not_have_is_sent(folder: Host, tmp_path: Path) -> None:
    """Its manifest may lie, its files may be edited, gone, or something else by now."""
    for name in ("edited", "gone", "folder", "linked", "same"):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o444)
    earlier = released(folder, tmp_path)
    folder.root(
        f"cd {quote(earlier.folder)}; echo x >edited; rm gone folder linked; mkdir folder; "
        "ln -s /etc/passwd linked"
    )
    assert send(folder, tmp_path, earlier=earlier)[-1]["of"] == 4
    names = "edited folder gone linked same"
    assert folder.root(f"cd '{FOLDER}.1'; cat {names}").stdout == names.replace(" ", "")
    assert folder.root("wc -l </etc/passwd").stdout != "0\n"


@pytest.mark.parametrize(
    "manifest", ["", "{}", "[1]\n", '["a"', "null", '[["a"], "file", 1, 1, "b"]']
)
def test_a_manifest_that_is_none_is_of_no_use(folder: Host, tmp_path: Path, manifest: str) -> None:
    """And does not stand in the way."""
    (tmp_path / "file").write_text("text")
    earlier = released(folder, tmp_path)
    folder.write(earlier.manifest, manifest)
    assert send(folder, tmp_path, earlier=earlier)[-1]["of"] == 1
    assert folder.root(f"cat '{FOLDER}.1/file'").stdout == "text"


def test_an_upload_goes_on_where_its_link_was_cut(folder: Host, tmp_path: Path, way: str) -> None:
    """Over a new connection, with what is not there, and the files that are there are not sent."""
    for number in range(8):
        (tmp_path / f"file{number}").write_bytes(os.urandom(100_000))
    told: list[dict[str, int]] = []
    calls, cuts = count(), {"stream": (5, 8), "sftp": (9, 20)}[way]

    def check() -> None:
        if next(calls) in cuts:
            folder.root("pkill -o -u deploy sshd")

    entries = read_tree(tmp_path).entries
    with session(folder) as place:
        upload(place, tmp_path, entries, FOLDER, 1, lambda **keys: told.append(keys), check)
    sent = folder.root(f"cd '{FOLDER}.1'; sha256sum file*").stdout.split()[::2]
    assert sent == [entry.sha256 for entry in sorted(entries, key=lambda e: e.path)]
    assert told[-1]["of"] < 8
    assert next(calls) > cuts[-1]


@pytest.mark.parametrize("after", [1, 5_000, 40_000, 100_000, 170_000, 250_000, 330_000, 420_000])
def test_an_upload_may_be_cut_after_any_byte(folder: Host, tmp_path: Path, after: int) -> None:
    """And cut again when it goes on; another machine finds what one more has left."""
    old, new = tmp_path / "old", tmp_path / "new"
    noise = Random(after)
    for name, size in (("a", 100_000), ("b/c", 5), ("b/d", 200_000), ("e", 0), ("f", 99_999)):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_bytes(noise.randbytes(size))
    shutil.copytree(old, new)
    (new / "b" / "d").write_bytes(noise.randbytes(150_000))
    (new / "g").symlink_to("b/d")
    for source, earlier, size in ((old, None, 400_000), (new, released(folder, old), 150_000)):
        folder.root(f"rm -rf '{FOLDER}'*")
        entries = read_tree(source).entries
        with closing(Relay(folder.ip, 22)) as relay:
            aim = target(folder, address="127.0.0.1", port=relay.port)

            def again() -> None:
                if relay.cuts == 1:
                    relay.cut_after(after)

            with session(folder, aim=aim) as place:
                assert place.query("true").ok
                relay.cut_after(after)
                upload(place, source, entries, FOLDER, 1, lambda **_: None, again, earlier)
        assert relay.cuts >= (1 if after < size else 0)
        found = folder.root(f"cd '{FOLDER}.1'; find . -type f -exec sha256sum -z {{}} +").stdout
        sent = {line[68:]: line[:64] for line in found.split("\0") if line}
        assert sent == {entry.path: entry.sha256 for entry in entries if entry.sha256}
        assert modes(folder) == {entry.path: f"{entry.mode:o}" for entry in entries}


def test_an_upload_ends_between_two_pieces_when_asked(folder: Host, tmp_path: Path) -> None:
    """Not only when the file is through."""
    (tmp_path / "big").write_bytes(os.urandom(1 << 20))
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Interrupted("interrupted by SIGTERM")

    with session(folder) as place, pytest.raises(Interrupted):
        upload(place, tmp_path, read_tree(tmp_path).entries, FOLDER, 1, lambda **_: None, check)
    assert len(asked) == 3
