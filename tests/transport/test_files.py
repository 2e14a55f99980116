"""What `Files` promises, over each server: this machine itself, OpenSSH's, and others."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from deploykit.errors import LinkLost, TransferFailed
from deploykit.files import Copy, File, Files
from deploykit.transport.local_files import LocalFiles
from deploykit.transport.sftp.packets import Kind
from deploykit.transport.ssh.files import SSHFiles
from tests.transport.other_servers import SERVERS
from tests.transport.sftp_servers import Login, connection


@dataclass
class Place:
    """
    A new folder on a server, and in it what was asked for.

    Args:
        files: over which it is asked.
        root: the folder, as the server names it.
        here: the same, as this machine does.
        login: to that server.
    """

    files: Files
    root: str
    here: Path
    login: Login | None = None

    def __truediv__(self, name: str) -> str:
        """Return the path of something in it, as the server names it."""
        return f"{self.root}/{name}"

    def make(self, contents: dict[str, bytes], mtime: int | None = None) -> None:
        """Write files, of mode 0640."""
        files = [File(self / name, 0o640, once(data), mtime) for name, data in contents.items()]
        self.files.write_all(files, lambda _size: None)

    def link(self, *links: tuple[str, str]) -> None:
        """Make links, each a target and a name, where the server does not: ourselves."""
        if self.login and Kind.SYMLINK in self.login.cannot:
            for target, name in links:
                (self.here / name).symlink_to(target)
        else:
            self.files.symlinks([(target, self / name) for target, name in links])


def once(data: bytes) -> Callable[[int], Iterator[bytes]]:
    """Return what gives *data* in pieces."""
    return lambda size: (data[at : at + size] for at in range(0, len(data), size))


@pytest.fixture(scope="module", params=["local", *SERVERS])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Login, paramiko.Transport] | None]:
    """Return a login at a server, and a connection; None for this machine itself."""
    if request.param == "local":
        yield None
        return
    with SERVERS[request.param]() as login, connection(login) as transport:
        yield login, transport


@pytest.fixture
def place(server: tuple[Login, paramiko.Transport] | None, tmp_path: Path) -> Iterator[Place]:
    """Return an empty folder on the server."""
    if server is None:
        yield Place(LocalFiles(), str(tmp_path), tmp_path)
        return
    login, transport = server
    channel = login.through(transport.open_session())
    try:
        files = SSHFiles(channel, "host")
        files.mkdir(f"{login.root}/{tmp_path.name}", 0o755)
        yield Place(files, f"{login.root}/{tmp_path.name}", login.here / tmp_path.name, login)
    finally:
        channel.close()


def test_files_are_written_and_read_whole(place: Place) -> None:
    """Of all sizes, with their modes and times, each replacing what is there; and read back."""
    sizes = [0, 1, 32767, 32768, 32769, 3_000_000, *range(100, 150)]
    contents = {f"fi le {size} ü": os.urandom(size) for size in sizes}
    place.make(dict.fromkeys(contents, b"x" * 70_000))
    place.make(contents, mtime=1_600_000_000)
    for name, data in contents.items():
        found = (place.here / name).stat()
        assert (place.here / name).read_bytes() == data
        assert (found.st_mode & 0o7777, int(found.st_mtime)) == (0o640, 1_600_000_000)
    paths = {place / name: data for name, data in contents.items()}
    assert place.files.read([*paths, place / "absent", place / "no/such"]) == paths
    sent: list[int] = []
    place.files.write(io.BytesIO(b"y" * 100_000), place / "one", 0o600, sent.append)
    assert (place.here / "one").read_bytes() == b"y" * 100_000
    assert (sum(sent), (place.here / "one").stat().st_mode & 0o777) == (100_000, 0o600)


def test_what_is_there_is_seen_itself(place: Place) -> None:
    """Files, folders and links, also ones that lead nowhere; absent ones are left out."""
    place.make({"file": b"12345"}, mtime=1_600_000_000)
    place.files.mkdirs([(place / "folder", 0o750)])
    place.link(("no/where", "link"), ("folder", "inside"))
    found = place.files.look(
        place / name for name in ("file", "folder", "link", "inside", "absent", "no/such")
    )
    kinds = {path.removeprefix(f"{place.root}/"): stat.kind for path, stat in found.items()}
    assert kinds == {"file": "file", "folder": "dir", "link": "link", "inside": "link"}
    one = found[place / "file"]
    assert (one.mode, one.size, one.mtime) == (0o640, 5, 1_600_000_000)
    assert found[place / "folder"].mode == 0o750
    resolved = f"{place.root}/no/where"  # as some servers say it
    assert place.files.target(place / "link") in ("no/where", resolved)
    assert place.files.target(place / "file") is None
    assert place.files.target(place / "absent") is None


def test_names_are_all_that_is_in_a_folder(place: Place) -> None:
    """Also more than come at once, and hidden ones; sorted."""
    names = [".hidden", "ü", "sp ace", *(f"name {n}" for n in range(700))]
    place.make(dict.fromkeys(names, b""))
    assert place.files.names(place.root) == sorted(names)
    place.files.mkdir(place / "empty", 0o755)
    assert place.files.names(place / "empty") == []
    assert place.files.names(place / "absent") is None


def test_folders(place: Place) -> None:
    """Whether one was made is told; modes hold whatever the umask; many keep theirs."""
    assert place.files.mkdir(place / "new", 0o2775)
    assert (place.here / "new").stat().st_mode & 0o7777 == 0o2775
    assert not place.files.mkdir(place / "new", 0o700)
    assert (place.here / "new").stat().st_mode & 0o7777 == 0o700
    place.files.mkdirs((place / name, 0o777) for name in ("a/b/c", "a", "new", "a/b", "d"))
    modes = {name: (place.here / name).stat().st_mode & 0o777 for name in ("a/b/c", "d", "new")}
    assert modes == {"a/b/c": 0o777, "d": 0o777, "new": 0o700}
    place.make({"new/file": b""})
    assert not place.files.rmdir(place / "new")
    assert not place.files.rmdir(place / "absent")
    assert place.files.rmdir(place / "a/b/c")
    assert not (place.here / "a/b/c").exists()
    place.files.modes([(place / "new/file", 0o444), (place / "d", 0o711)])
    assert (place.here / "new/file").stat().st_mode & 0o777 == 0o444
    with pytest.raises(TransferFailed, match="new/file"):
        place.files.mkdir(place / "new/file", 0o700)


def test_appending_makes_a_file_and_then_adds_to_it(place: Place) -> None:
    """In one request or in several; the mode is that of the first."""
    long = os.urandom(200_000)
    for data, mode in ((b"one\n", 0o620), (b"two\n", 0o600), (long, 0o600), (b"", 0o600)):
        place.files.append(place / "log", data, mode)
    assert (place.here / "log").read_bytes() == b"one\ntwo\n" + long
    assert (place.here / "log").stat().st_mode & 0o777 == 0o620


def test_copies_are_whole_or_not_there(place: Place) -> None:
    """What the server copies has its contents, mode and time; what it cannot is not told of."""
    place.make({"a": os.urandom(300_000), "b": b"", "c": b"new"})
    place.make({"to c": b"x" * 500_000})
    copies = [Copy(place / name, place / f"to {name}", 0o604, 1_500_000_000) for name in "abc"]
    copies.append(Copy(place / "absent", place / "to absent", 0o600, 1_500_000_000))
    made = place.files.copy_all(copies)
    assert made in ({place / f"to {name}" for name in "abc"}, set())
    for path in made:
        name = path.rpartition(" ")[2]
        there = place.here / f"to {name}"
        assert there.read_bytes() == (place.here / name).read_bytes()
        assert (there.stat().st_mode & 0o777, there.stat().st_mtime) == (0o604, 1_500_000_000)
    place.make({"after": b"it goes on"})


def test_links_replace_links_and_nothing_else(place: Place) -> None:
    """A file in the place of a link is not lost; a server that makes none says which."""
    if place.login and Kind.SYMLINK in place.login.cannot:
        with pytest.raises(TransferFailed, match=f"cannot link {place.root}/link: Permission"):
            place.files.symlinks([("first", place / "link")])
        return
    place.make({"file": b"kept"})
    place.files.mkdir(place / "first", 0o755)
    place.files.symlinks([("first", place / "link"), ("second/one", place / "other")])
    place.files.symlinks([("third", place / "link")])
    assert (place.here / "link").readlink() == Path("third")
    assert (place.here / "other").readlink() == Path("second/one")
    with pytest.raises(TransferFailed, match="file"):
        place.files.symlinks([("x", place / "file")])
    assert (place.here / "file").read_bytes() == b"kept"


def test_renaming_replaces_and_moving_does_not(place: Place) -> None:
    """Not even of folders, where there is something in the other: a lock."""
    place.make({"old": b"new contents", "new": b"old contents"})
    place.files.rename(place / "old", place / "new")
    assert (place.here / "new").read_bytes() == b"new contents"
    assert not (place.here / "old").exists()
    place.files.mkdirs([(place / name, 0o755) for name in ("mine", "theirs")])
    place.make({"mine/owner": b"me", "theirs/owner": b"they"})
    assert place.files.move(place / "mine", place / "lock")
    assert not place.files.move(place / "theirs", place / "lock")
    assert (place.here / "lock/owner").read_bytes() == b"me"
    assert (place.here / "theirs/owner").read_bytes() == b"they"


@pytest.mark.parametrize("act", ["rename", "move"])
def test_a_link_is_renamed_and_not_what_it_leads_to(place: Place, act: str) -> None:
    """Where the server does the other, nothing is done, and the link is named."""
    place.files.mkdirs([(place / name, 0o755) for name in "ab"])
    place.link(("a", "a link"), ("b", "b link"))
    if act == "move":
        (place.here / "a link").unlink()
    if place.login and place.login.follows:
        with pytest.raises(TransferFailed, match=f"takes the link {place.root}/b link for what"):
            getattr(place.files, act)(place / "b link", place / "a link")
    else:
        getattr(place.files, act)(place / "b link", place / "a link")
        assert (place.here / "a link").readlink() == Path("b")
    assert [list((place.here / name).iterdir()) for name in "ab"] == [[], []]


def test_a_file_may_take_the_place_of_a_link(place: Place) -> None:
    """And not of the folder that it leads to, nor of what is in there."""
    place.files.mkdir(place / "a", 0o755)
    place.make({"a/kept": b"kept", "file": b"file"})
    place.link(("a", "link"))
    place.files.rename(place / "file", place / "link")
    assert (place.here / "link").read_bytes() == b"file"
    assert (place.here / "a/kept").read_bytes() == b"kept"


def test_what_is_not_there_cannot_be_renamed(place: Place) -> None:
    """And what has the name keeps it."""
    place.make({"new": b"kept"})
    with pytest.raises(TransferFailed, match=f"{place.root}/(absent|new)"):
        place.files.rename(place / "absent", place / "new")
    assert (place.here / "new").read_bytes() == b"kept"


def test_what_is_not_there_cannot_be_moved(place: Place) -> None:
    """Which is no refusal because something is in the way."""
    with pytest.raises(TransferFailed, match=f"{place.root}/new"):
        place.files.move(place / "absent", place / "new")


def test_whole_folders_are_removed_and_nothing_beside_them(place: Place) -> None:
    """Links are not followed, folders without write bits are no obstacle, absent ones no error."""
    folders = [f"tree/{a}/{b}" for a in range(3) for b in range(3)]
    above = ["kept", "tree", *(f"tree/{a}" for a in range(3))]
    place.files.mkdirs([(place / name, 0o755) for name in (*above, *folders)])
    place.make({f"{folder}/file {n}": b"x" for folder in folders for n in range(70)})
    place.make({"kept/file": b"kept", "single": b"x"})
    place.link(("../kept", "tree/out"), ("nowhere", "tree/1/dead"), ("kept", "l"))
    place.files.modes([(place / "tree/2/1", 0o555), (place / "tree/2", 0o000)])
    place.files.remove([place / name for name in ("tree", "single", "absent", "l", "no/such")])
    assert list(place.here.iterdir()) == [place.here / "kept"]
    assert (place.here / "kept/file").read_bytes() == b"kept"


def test_extensions_are_used_where_they_are_offered(place: Place) -> None:
    """Each server here is what its name says."""
    if not place.login or not isinstance(place.files, SSHFiles):
        return
    assert place.files.replaces == ("posix-rename" not in place.login.lacks)
    assert (place.files.free(place.root) is None) == ("statvfs" in place.login.lacks)
    place.make({"a": b"a"})
    made = place.files.copy_all([Copy(place / "a", place / "b", 0o600, 1)])
    assert made == (set() if "copy-data" in place.login.lacks else {place / "b"})


def test_room_is_told_by_who_knows_it(place: Place) -> None:
    """About what this machine says."""
    found = place.files.free(place.root)
    there = os.statvfs(place.here)
    assert found is None or abs(found - there.f_bavail * there.f_frsize) < 1 << 30


def test_a_refusal_names_the_path(place: Place) -> None:
    """So that somebody can do something about it."""
    with pytest.raises(TransferFailed, match="no/such"):
        place.files.write(io.BytesIO(b"x"), place / "no/such", 0o600)


def test_what_raises_ends_the_writing(place: Place) -> None:
    """A file that could not be read, or progress that wants to stop."""

    def breaks(_size: int) -> Iterator[bytes]:
        yield b"x"
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        place.files.write_all([File(place / "f", 0o600, breaks, 1)], lambda _size: None)
    assert (place.here / "f").stat().st_mtime != 1


def test_a_lost_connection_is_one(server: tuple[Login, paramiko.Transport] | None) -> None:
    """And no refusal."""
    if server is None:
        return
    _, transport = server
    channel = transport.open_session()
    files = SSHFiles(channel, "host")
    channel.close()
    with pytest.raises(LinkLost):
        files.look(["/"])
