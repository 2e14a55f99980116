"""A host that has SFTP and no shell: this machine's files, or a chrooted login at a test host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from deploykit.errors import LinkLost
from deploykit.files import Files
from deploykit.transport import ssh
from deploykit.transport.base import Transport
from deploykit.transport.local import LocalTransport
from deploykit.transport.retrying import RetryingTransport
from tests.farm import Host, Hosts
from tests.farm.chrooted import HOME, USER, chrooted
from tests.transport.links import target

__all__ = ["Cut", "Effects", "Place", "at_a_hoster", "listed", "lost", "place"]

EFFECTS = (
    *("mkdir", "mkdirs", "write", "write_all", "append", "copy_all"),
    *("modes", "symlinks", "rename", "move", "remove", "rmdir"),
)


class Cut(BaseException):
    """The controller's end, as a test brings it about."""


def lost() -> LinkLost:
    """Return the end of a link."""
    return LinkLost("the connection was lost")


@dataclass
class Effects:
    """
    Counts what is asked of a host that may change it, and ends somebody there.

    Args:
        left: effects until the end; None for none.
        raises: what that is: the controller's end, or the link's.
        done: what is cut off has been done, and only its answer is lost.
    """

    left: int | None = None
    raises: Callable[[], BaseException] = Cut
    done: bool = False
    count: int = 0

    def carry_out(self, effect: Callable[[], Any]) -> Any:
        """Do *effect*, or end."""
        self.count += 1
        if self.left is None:
            return effect()
        self.left -= 1
        if self.left >= 0:
            return effect()
        self.left = None
        if self.done:
            effect()
        raise self.raises()


@dataclass(frozen=True)
class _Watched:
    """Files of which every effect is counted."""

    inner: Files
    effects: Effects

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name not in EFFECTS:
            return found
        return lambda *words: self.effects.carry_out(lambda: found(*words))


@dataclass(frozen=True)
class _Way:
    """A connection, of which only the files are asked."""

    inner: Transport
    effects: Effects

    def files(self, *, apart: bool = False) -> _Watched:
        return _Watched(self.inner.files(apart=apart), self.effects)

    def close(self) -> None:
        self.inner.close()


@dataclass(frozen=True)
class _Kept:
    """A connection that outlives who says that it was lost."""

    inner: Transport

    def files(self, *, apart: bool = False) -> Files:
        return self.inner.files(apart=apart)

    def close(self) -> None:
        """Leave it open."""


@dataclass(frozen=True)
class Place:
    """
    A folder on a host without a shell.

    Args:
        root: as the host sees it; absolute, without a link in it.
        here: as this machine sees it.
        connect: opens a connection.
    """

    root: str
    here: Path
    connect: Callable[[], Transport]

    def way(self, effects: Effects | None = None) -> RetryingTransport:
        """Return a way there that counts *effects*."""
        counted = effects or Effects()
        return RetryingTransport(lambda: cast("Transport", _Way(self.connect(), counted)))

    def files(self) -> Files:
        """Return its files."""
        return self.connect().files()


def at_a_hoster(host: Host, port: int | None = None) -> Place:
    """
    Return the one folder that a user of *host* may write to, who has no shell.

    Args:
        host: of the test bed.
        port: of this machine, if something listens there that goes on to the host.
    """
    chrooted(host)
    host.wait()  # sshd does not listen for a moment
    by = {"address": "127.0.0.1", "port": port} if port else {}
    aim = target(host, user=USER, shell=False, **by)
    return Place("/site", host.files / HOME.lstrip("/") / "site", lambda: ssh.connect(aim))


@pytest.fixture(params=["local", "chrooted"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Return a place on this machine, and one on a host that offers nothing but SFTP."""
    if request.param == "local":
        (tmp_path / "it's a home").mkdir()
        yield Place(str(tmp_path / "it's a home"), tmp_path / "it's a home", LocalTransport)
        return
    hosts: Hosts = request.getfixturevalue("hosts")
    there = at_a_hoster(hosts(1)[0])
    inner = there.connect()
    kept = cast("Transport", _Kept(inner))
    yield Place(there.root, there.here, lambda: kept)
    inner.close()


def listed(folder: Path) -> dict[str, tuple[str, int, bytes | str]]:
    """Return kind, mode and contents of everything in *folder*, by path."""
    found: dict[str, tuple[str, int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        mode, name = path.lstat().st_mode & 0o7777, str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = "link", 0, str(path.readlink())
        elif path.is_dir():
            found[name] = "dir", mode, ""
        else:
            found[name] = "file", mode, path.read_bytes()
    return found
