"""Uploads over SFTP: what is there is what was sent, or it is an error."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from deploykit.errors import Interrupted, TransferFailed
from deploykit.source import read_tree
from deploykit.transport.sftp import upload
from tests.farm import Host, Hosts
from tests.transport.links import session

FOLDER = "/srv/up load"


@pytest.fixture
def folder(hosts: Hosts) -> Host:
    """Return a host with a small disk and an empty folder for the upload."""
    host = hosts(1, disk="64M")[0]
    host.root(f"rm -rf '{FOLDER}'*; install -d -o deploy /srv '{FOLDER}.1'")
    return host


def send(host: Host, source: Path, told: list[dict[str, int]] | None = None) -> None:
    """Send *source*."""
    events: list[dict[str, int]] = [] if told is None else told
    entries = read_tree(source).entries
    with session(host) as place:
        upload(place, source, entries, FOLDER, 1, lambda **keys: events.append(keys), lambda: None)


def test_a_disk_that_is_full_is_no_success(folder: Host, tmp_path: Path) -> None:
    """Every piece's answer is looked at, and the file is named."""
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    folder.fill()
    with pytest.raises(TransferFailed, match=r"cannot write .*1/file: refused \(disk full"):
        send(folder, tmp_path)


def test_what_is_there_whole_is_not_sent_again(folder: Host, tmp_path: Path) -> None:
    """An upload that was cut goes on with what is missing or differs."""
    for name in ("whole", "half", "missing"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    folder.write(f"{FOLDER}.1/whole", "whole" * 1000, owner="deploy:deploy")
    folder.write(f"{FOLDER}.1/half", "half" * 10, owner="deploy:deploy")
    told: list[dict[str, int]] = []
    send(folder, tmp_path, told)
    assert (told[-1]["of"], told[-1]["done"]) == (2, 4000 + 7000)
    sizes = folder.root(f"cd '{FOLDER}.1'; stat -c %s half missing whole").stdout.split()
    assert sizes == ["4000", "7000", "5000"]


def test_an_upload_goes_on_where_its_link_was_cut(folder: Host, tmp_path: Path) -> None:
    """Over a new connection, with what is not there, and the files that are there are not sent."""
    for number in range(8):
        (tmp_path / f"file{number}").write_bytes(os.urandom(100_000))
    told: list[dict[str, int]] = []
    calls = count()

    def check() -> None:
        if next(calls) in (9, 20):
            folder.root("pkill -o -u deploy sshd")

    entries = read_tree(tmp_path).entries
    with session(folder) as place:
        upload(place, tmp_path, entries, FOLDER, 1, lambda **keys: told.append(keys), check)
    sent = folder.root(f"cd '{FOLDER}.1'; sha256sum file*").stdout.split()[::2]
    assert sent == [entry.sha256 for entry in sorted(entries, key=lambda e: e.path)]
    assert told[-1]["of"] < 8


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
