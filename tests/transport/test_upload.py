"""Uploads over SFTP: what is there is what was sent, or it is an error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from deploykit.errors import Interrupted, TransferFailed
from deploykit.release import Manifest
from deploykit.shell import quote
from deploykit.source import read_tree
from deploykit.transport.upload import Earlier, bringing, present, upload
from deploykit.transport.upload.finishing import finish
from deploykit.transport.upload.packers import GZIP
from deploykit.transport.upload.present import Copies
from tests.farm import Host, Hosts, eventually
from tests.transport.cutting import Relay
from tests.transport.links import session, target

FOLDER = "/srv/up load"


@pytest.fixture(autouse=True, params=["zstd", "gzip", "sftp"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the host unpack a stream, by zstd or gzip, or lack the tools for that."""
    assert shutil.which("zstd")
    if request.param == "sftp":
        monkeypatch.setattr(present, "UNPACKS", "false")
    elif request.param == "gzip":
        monkeypatch.setattr(bringing, "chosen", lambda _tools: GZIP)
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

    with session(host) as place:
        upload(place, source, read_tree(source), FOLDER, 1, tell, lambda: None, earlier)
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
    manifest = read_tree(source)
    host.root(f"rm -rf {quote(earlier.folder)}* /srv/old.json")
    with session(host) as place:
        host.root(f"install -d -o deploy {quote(earlier.folder)}.1")
        upload(place, source, manifest, earlier.folder, 1, lambda **_: None, lambda: None)
    host.root(f"mv {quote(earlier.folder)}.1 {quote(earlier.folder)}")
    host.write(earlier.manifest, manifest.to_json())
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


def test_nobody_else_may_enter_before_it_is_whole(folder: Host, tmp_path: Path) -> None:
    """A file that is meant for nobody else gets its mode like all others, by and by."""
    (tmp_path / "private").write_text("text")
    (tmp_path / "private").chmod(0o600)
    folder.root(f"rm -r '{FOLDER}.1'")
    seen: list[str] = []

    def check() -> None:
        look = f"stat -c '%a %n' '{FOLDER}.1'"
        seen.append(eventually(lambda: folder.root(look, check=False).stdout))

    with session(folder) as place:
        upload(place, tmp_path, read_tree(tmp_path), FOLDER, 1, lambda **_: None, check)
    assert seen == [f"700 {FOLDER}.1\n"]
    assert folder.root(f"stat -c %a '{FOLDER}.1' '{FOLDER}.1/private'").stdout == "755\n600\n"


def test_every_mode_is_the_manifest_s(folder: Host, tmp_path: Path) -> None:
    """Folders that nobody may write to or enter, too; and again where all of it is copied."""
    kinds = {"usual": 0o755, "usual/x": 0o755, "closed": 0o555, "shared": 0o2775, "hidden": 0o600}
    for name, mode in kinds.items():
        (tmp_path / name).mkdir()
        for number, file_mode in enumerate((0o644, 0o644, 0o755, 0o400, 0o666)):
            (tmp_path / name / str(number)).write_text(f"{name} {number}")
            (tmp_path / name / str(number)).chmod(file_mode)
        (tmp_path / name / "link").symlink_to("0")
        (tmp_path / name).chmod(mode)
    entries = read_tree(tmp_path).entries
    expected = {entry.path: f"{entry.mode:o}" for entry in entries}
    assert expected["hidden/3"] == "400"
    send(folder, tmp_path)
    assert modes(folder) == expected
    folder.root(f"rm -rf /srv/rel; mv '{FOLDER}.1' /srv/rel && chmod -R u+rwX,g+w /srv/rel")
    folder.write("/srv/rel.json", Manifest(entries).to_json())
    told = send(folder, tmp_path, Earlier("/srv/rel", "/srv/rel.json"))
    assert told[-1]["of"] == 0
    assert modes(folder) == expected
    assert folder.root(f"cat '{FOLDER}.1.json'").stdout == Manifest(entries).to_json()


@pytest.mark.parametrize("lacking", ["openssl", "sort"])
def test_a_host_without_a_tool(folder: Host, tmp_path: Path, lacking: str) -> None:
    """What is there is verified all the same, by what every host has."""
    for name in ("a", "it's\nb", "c"):
        (tmp_path / name).write_text(name)
    program = folder.root(f"readlink -f $(command -v {lacking})").stdout.strip()
    folder.root(f"chmod 0700 {program}")
    try:
        earlier = released(folder, tmp_path)
        folder.root(f"echo x >{quote(earlier.folder)}/c")
        assert send(folder, tmp_path, earlier)[-1]["of"] == 1
    finally:
        folder.root(f"chmod 0755 {program}")
    assert folder.root(f"cat '{FOLDER}.1/c'").stdout == "c"


def test_an_end_may_come_twice(folder: Host, tmp_path: Path) -> None:
    """The answer may be lost with the link: then it is done again, by whoever asks again."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    send(folder, tmp_path)
    manifest = read_tree(tmp_path)
    folder.root(f"cp -a '{FOLDER}.1' '{FOLDER}.1-1'; echo half >'{FOLDER}.1/file'")
    with session(folder) as place:
        for _ in range(2):
            wrong = finish(place, f"{FOLDER}.1-1", f"{FOLDER}.1", manifest, Copies({}, {}))
            assert wrong == frozenset()
            assert folder.root(f"cat '{FOLDER}.1/file'").stdout == "text"
        folder.root(f"rm -r '{FOLDER}.1/file' '{FOLDER}.1/folder'; touch '{FOLDER}.1/more'")
        assert finish(place, f"{FOLDER}.1", f"{FOLDER}.1", manifest, Copies({}, {})) == {"file"}


def test_what_is_there_beside_it_stays(folder: Host, tmp_path: Path) -> None:
    """A file that no manifest names is no reason to send all others again."""
    (tmp_path / "file").write_text("text")
    folder.write(f"{FOLDER}.1/stray", "x", owner="deploy:deploy")
    assert send(folder, tmp_path)[-1]["of"] == 1
    assert modes(folder) == {"file": "644", "stray": "644"}


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
    "manifest", ["", "=", "{}", "[1]\n", '["a"', "null", '[["a"], "file", 1, 1, "b"]']
)
def test_a_manifest_that_is_none_is_of_no_use(folder: Host, tmp_path: Path, manifest: str) -> None:
    """And does not stand in the way."""
    (tmp_path / "file").write_text("text")
    earlier = released(folder, tmp_path)
    folder.write(earlier.manifest, manifest)
    assert send(folder, tmp_path, earlier=earlier)[-1]["of"] == 1
    assert folder.root(f"cat '{FOLDER}.1/file'").stdout == "text"


def test_what_has_come_is_read_while_more_comes(
    folder: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """And not again at the end, but for names that tar prints otherwise, and what was damaged."""
    odd = ['it\'s "odd" $x', "new\nline", "back\\slash", "-n", " ", "ümlaut"]
    for name in [*odd, *(f"deep/er/{number}" for number in range(700))]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    known: list[Collection[str]] = []

    def end(*words: Any) -> frozenset[str]:
        known.append(words[-1])
        folder.root(f"cd '{FOLDER}.1'; echo x >'new\nline'")
        return finish(*words)

    monkeypatch.setattr(bringing, "finish", end)
    with pytest.raises(TransferFailed, match=r"new\nline is not what was sent"):
        send(folder, tmp_path)
    read = set(known[0])
    if way == "sftp":
        assert not read
    else:
        assert {f"deep/er/{number}" for number in range(600)} | {odd[0], "-n", " "} <= read
        assert not {"new\nline", "back\\slash"} & read


def test_what_reads_may_fail(folder: Host, tmp_path: Path) -> None:
    """What is unpacked is read at the end then."""
    (tmp_path / "file").write_text("text")
    for program in ("openssl", "tr"):
        path = folder.root(f"readlink -f $(command -v {program})").stdout.strip()
        folder.root(
            f"mv {path} {path}.away; printf '#!/bin/sh\nexit 255\n' >{path}; chmod 755 {path}"
        )
        try:
            folder.root(f"rm -rf '{FOLDER}'*")
            assert send(folder, tmp_path)[-1]["of"] == 1
        finally:
            folder.root(f"mv {path}.away {path}")
        assert folder.root(f"cat '{FOLDER}.1/file'").stdout == "text"


def test_an_upload_goes_on_where_its_link_was_cut(folder: Host, tmp_path: Path, way: str) -> None:
    """Over a new connection, with what is not there, and the files that are there are not sent."""
    # By zstd nothing leaves before three of its chunks have been read, each of a megabyte.
    of, cuts = {"zstd": (64, (45, 49)), "gzip": (16, (10, 14)), "sftp": (16, (20, 40))}[way]
    for number in range(of):
        (tmp_path / f"file{number:02}").write_bytes(os.urandom(100_000))
    told: list[dict[str, int]] = []
    calls = count()

    def check() -> None:
        if next(calls) in cuts:
            eventually(lambda: folder.root(f"find '{FOLDER}.1' -size +97k").stdout)
            folder.root("pkill -o -u deploy sshd")

    entries = read_tree(tmp_path).entries
    with session(folder) as place:
        upload(
            place, tmp_path, Manifest(entries), FOLDER, 1, lambda **keys: told.append(keys), check
        )
    sent = folder.root(f"cd '{FOLDER}.1'; sha256sum file*").stdout.split()[::2]
    assert sent == [entry.sha256 for entry in sorted(entries, key=lambda e: e.path)]
    assert told[-1]["of"] < of
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
        manifest = read_tree(source)
        with closing(Relay(folder.ip, 22)) as relay:
            aim = target(folder, address="127.0.0.1", port=relay.port)

            def again() -> None:
                if relay.cuts == 1:
                    relay.cut_after(after)

            with session(folder, aim=aim) as place:
                assert place.query("true").ok
                relay.cut_after(after)
                upload(place, source, manifest, FOLDER, 1, lambda **_: None, again, earlier)
        assert relay.cuts >= (1 if after < size else 0)
        found = folder.root(f"cd '{FOLDER}.1'; find . -type f -exec sha256sum -z {{}} +").stdout
        sent = {line[68:]: line[:64] for line in found.split("\0") if line}
        assert sent == {entry.path: entry.sha256 for entry in manifest.files}
        assert modes(folder) == {entry.path: f"{entry.mode:o}" for entry in manifest.entries}
        assert folder.root(f"cat '{FOLDER}.1.json'").stdout == manifest.to_json()


def test_an_upload_ends_between_two_pieces_when_asked(folder: Host, tmp_path: Path) -> None:
    """Not only when the file is through."""
    (tmp_path / "big").write_bytes(os.urandom(1 << 20))
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Interrupted("interrupted by SIGTERM")

    with session(folder) as place, pytest.raises(Interrupted):
        upload(place, tmp_path, read_tree(tmp_path), FOLDER, 1, lambda **_: None, check)
    assert len(asked) == 3
