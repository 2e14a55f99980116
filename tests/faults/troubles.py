"""What the world does to a server of the kill matrix, and how each of it is taken back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

import psycopg

from tests.farm import Host
from tests.faults.crew import Controller
from tests.faults.site import ROOT, Site

__all__ = ["TROUBLES", "Place", "Trouble"]

SLOTS = 20  # connections that the database allows
SSHD = "/etc/ssh/sshd_config.d/00-trouble.conf"
UNIT = "/etc/systemd/system/shop.service.d/trouble.conf"
HOME = "/home/deploy"
CRASHING = """[Service]
ExecStart=
ExecStart=/bin/sh -c 'sleep 0.2; exit 1'
Restart=always
RestartSec=100ms
"""


@dataclass
class Place:
    """
    Where there is trouble.

    Args:
        site: the server.
        random: decides what may be one way or the other.
        times: of deploykit, as `crew.TIMES` has them, where they are others here.
        controller: the one at work; None before there is one.
    """

    site: Site
    random: Random
    times: Mapping[str, float] = field(default_factory=dict)
    controller: Controller | None = None
    threads: list[threading.Thread] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> Host:
        """The server as a machine."""
        return self.site.host


@dataclass(frozen=True)
class Trouble:
    """
    One thing that goes wrong; this one does not.

    Args:
        lasts: it is there until the run has ended, and not until it is noticed.
    """

    name: ClassVar[str] = ""
    ends: ClassVar[tuple[int, ...]] = (0, 1)
    """The exit codes that a run may end with; with 3 somebody else has to finish or undo it."""
    gone: ClassVar[bool] = False
    """While it is there, nobody gets to the host: where it lasts, the run may end with 3, too."""
    kills: ClassVar[bool] = False
    """The controller itself dies of it."""
    starts: ClassVar[bool] = True
    """Nothing but deploykit starts the service meanwhile, so that its starts can be counted."""
    over_at_once: ClassVar[bool] = False
    """Nothing is left to be taken back once it has struck."""
    times: ClassVar[Mapping[str, float]] = {}
    ahead: ClassVar[tuple[float, float]] = (0.0, 0.0)
    """Seconds that the clocks of the first operator and of the second are ahead."""

    lasts: bool = False

    def __str__(self) -> str:
        return f"{self.name}{'-for-good' if self.lasts else ''}"

    def prepare(self, place: Place) -> None:
        """Do what is there before the run begins."""

    def strike(self, place: Place) -> None:
        """Do it, at the moment that a case is about."""

    def is_noticed(self, place: Place) -> bool:
        """Return whether the run has met it, so that it may be taken back."""
        return bool(place.controller and place.controller.events("link_lost"))

    def heal(self, place: Place) -> None:
        """Take it back, and whatever came of it that only an administrator could."""


class Cut(Trouble):
    """The cable is pulled."""

    name = "cut"
    gone = True

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.linkdown()

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.heal()


class Dropped(Cut):
    """Packets are dropped, and nobody is told."""

    name = "dropped"

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.partition()


class Lossy(Cut):
    """Some packets are lost."""

    name = "lossy"
    gone = False

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.loss(4)


class Frozen(Trouble):
    """No process of the host goes on."""

    name = "frozen"
    gone = True

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.freeze()

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.thaw()


class Rebooted(Trouble):
    """Somebody reboots the host."""

    name = "rebooted"
    starts = False
    over_at_once = True
    times: ClassVar[Mapping[str, float]] = {"deploykit.transport.retrying:RECONNECT_FOR": 60.0}

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.reboot()


class PowerCut(Rebooted):
    """The power goes, and comes again."""

    name = "power"

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.kill()
        place.host.start()


class Sshd(Trouble):
    """All of sshd is killed, and started again by an administrator."""

    name = "sshd"
    gone = True

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        # Killed, it is started again by systemd.
        verb = "stop" if self.lasts else "kill -s KILL"
        place.host.root(f"systemctl {verb} ssh.service || :; pkill -KILL -x sshd || :")

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.root("systemctl reset-failed ssh.service; systemctl start ssh.service")


class DiskFull(Trouble):
    """There is no byte left on the disk."""

    name = "disk-full"
    ends = (0, 1, 3)  # what is kept back for going back is free by then, and may be taken, too

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        # What counts effects is no part of the trouble.
        place.host.root("fallocate -n -l 256K /srv/effects/log")
        place.host.fill()

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.unfill()
        place.host.root("systemctl start postgresql@15-main")


class ReadOnly(Trouble):
    """The file system of the application has become read-only."""

    name = "read-only"
    ends = (0, 1, 3)

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        # A mount of its own, in which only those who have opened a file since can write.
        place.host.root(
            f"mount --bind {ROOT} {ROOT}; until mount -o remount,bind,ro {ROOT}; do :; done",
            within=30,
        )

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.root(f"while umount -l {ROOT} 2>/dev/null; do :; done")


class DatabaseRestarted(Trouble):
    """The database is restarted, which ends every connection to it."""

    name = "database"
    ends = (0, 1, 3)
    over_at_once = True

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.root("systemctl restart postgresql@15-main")


class Slots(Trouble):
    """Others have all the connections that the database allows."""

    name = "slots"
    ends = (0, 1, 3)

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.over.clear()
        full = threading.Event()
        thread = threading.Thread(target=self._hold, args=(place, full), daemon=True)
        place.threads.append(thread)
        thread.start()
        assert full.wait(30)

    def is_noticed(self, place: Place) -> bool:
        """See `Trouble`."""
        return bool(place.controller and place.controller.events("rollback_started"))

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.over.set()
        for thread in place.threads:
            thread.join()
        place.threads.clear()

    def _hold(self, place: Place, full: threading.Event) -> None:
        """Take every connection that becomes free, until it is over."""
        url = f"postgresql://shop:secret@{place.host.ip}:5432/shop?connect_timeout=3"
        taken: list[psycopg.Connection[tuple[object, ...]]] = []
        while not place.over.is_set():
            try:
                taken.append(psycopg.connect(url))
            except psycopg.OperationalError:
                full.set()
                place.over.wait(0.05)
        for connection in taken:
            connection.close()


class Crashing(Trouble):
    """The service dies whenever it is started, and is started whenever it dies."""

    name = "crashing"
    ends = (0, 1, 3)
    starts = False

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.write(UNIT, CRASHING)
        place.host.root("systemctl daemon-reload; systemctl try-restart --no-block shop.service")

    def is_noticed(self, place: Place) -> bool:
        """See `Trouble`."""
        return bool(place.controller and place.controller.events("rollback_started"))

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.root(
            f"rm -f {UNIT}; systemctl daemon-reload\n"
            # One that is about to die, or to be started again; one that is stopped on purpose is
            # left so.
            "grep -qs app.py /proc/$(systemctl show -P MainPID shop.service)/cmdline || "
            "case $(systemctl show -P ActiveState shop.service) in\n"
            "  inactive) ;; *) systemctl restart shop.service ;; esac"
        )


class Killed(Trouble):
    """The operator's machine may die; the base of all that was there before the run began."""

    name = "killed"
    kills = True
    often: ClassVar[float] = 0.6

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        assert place.controller
        if place.random.random() < self.often:
            place.controller.kill()


class ClockAhead(Killed):
    """The first operator's clock is an hour ahead, the second one's is right."""

    name = "clock-ahead"
    ahead = (3600.0, 0.0)


class ClockBehind(Killed):
    """The first operator's clock is an hour behind, the second one's an hour ahead."""

    name = "clock-behind"
    ahead = (-3600.0, 3600.0)


class Sessions(Killed):
    """The server allows one session on each connection."""

    name = "sessions"

    def prepare(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.write(SSHD, "MaxSessions 1\n")
        place.host.root("systemctl reload ssh.service")

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.root(f"rm -f {SSHD}; systemctl reload ssh.service")


class Startups(Sessions):
    """The server admits one stranger at a time, there are many, and the connections are lost."""

    name = "startups"
    kills = False
    times: ClassVar[Mapping[str, float]] = {"deploykit.transport.retrying:RECONNECT_FOR": 30.0}

    def prepare(self, place: Place) -> None:
        """See `Trouble`."""

    def strike(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.write(SSHD, "MaxStartups 1:100:1\n")
        place.host.root("systemctl reload ssh.service")
        place.over.clear()
        thread = threading.Thread(target=self._knock, args=(place,), daemon=True)
        place.threads.append(thread)
        thread.start()
        # The processes of the sessions, and not the one that listens.
        place.host.root("pkill -KILL -u deploy -x sshd || :")

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.over.set()
        for thread in place.threads:
            thread.join()
        place.threads.clear()
        super().heal(place)

    def _knock(self, place: Place) -> None:
        """Connect again and again, and never log in."""
        while not place.over.is_set():
            with suppress(OSError), socket.create_connection((place.host.ip, 22), timeout=1):
                place.over.wait(place.random.uniform(0.1, 0.5))
            place.over.wait(place.random.uniform(0.1, 0.4))


class Shellish(Killed):
    """The login shell reads a line that nobody expects."""

    line: ClassVar[str] = ""

    def prepare(self, place: Place) -> None:
        """See `Trouble`."""
        for name in (f"{HOME}/.bashrc", f"{HOME}/.profile"):
            place.host.root(
                f"touch {name}; cp -p {name} {name}.kept; {{ cat; cat {name}.kept; }} >{name}",
                input=f"{self.line}\n",
            )

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        for name in (f"{HOME}/.bashrc", f"{HOME}/.profile"):
            place.host.root(f"[ ! -e {name}.kept ] || mv -f {name}.kept {name}")


class Banner(Shellish):
    """The login shell says something, on both streams, whoever logs in."""

    name = "banner"
    line = "echo 'Welcome to the shop!'; echo 'Be careful.' >&2; printf '\\001 no line'"


class Umask(Shellish):
    """Nobody else may read what the user makes."""

    name = "umask"
    line = "umask 077"


class NoExec(Killed):
    """Nothing in /tmp can be executed."""

    name = "noexec"

    def prepare(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.root("mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp")

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.root("umount -l /tmp || :")


class OtherHome(Killed):
    """The user's home lies on another file system."""

    name = "home"

    def prepare(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.root(
            f"cp -a {HOME} /run/home; mount -t tmpfs -o uid=1000,gid=1000,mode=700 tmpfs {HOME}\n"
            f"cp -a /run/home/. {HOME}; rm -r /run/home"
        )

    def heal(self, place: Place) -> None:
        """See `Trouble`."""
        place.host.root(f"umount -l {HOME} || :")


TROUBLES: tuple[Trouble, ...] = (
    *(Cut(), Cut(lasts=True), Dropped(), Dropped(lasts=True), Lossy(lasts=True)),
    *(Frozen(), Frozen(lasts=True), Rebooted(), PowerCut(), Sshd(), Sshd(lasts=True)),
    *(DiskFull(lasts=True), ReadOnly(), ReadOnly(lasts=True)),
    *(DatabaseRestarted(), Slots(), Slots(lasts=True), Crashing(), Crashing(lasts=True)),
    *(ClockAhead(), ClockBehind(), Sessions(), Startups(lasts=True), Banner(), Umask()),
    *(NoExec(), OtherHome()),
)
