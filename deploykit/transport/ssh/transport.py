"""What the engine asks of a connection, carried by SSH."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, TypeVar

from deploykit.errors import ConnectFailed, LinkLost, TransportError
from deploykit.hosts import Host
from deploykit.transport.base import Completed
from deploykit.transport.boot import message
from deploykit.transport.ssh import limits
from deploykit.transport.ssh.connecting import dial
from deploykit.transport.ssh.conversing import converse
from deploykit.transport.ssh.files import SSHFiles
from deploykit.transport.ssh.link import LOST, Link, NoRoom, Shell

__all__ = ["SSHHeld", "SSHTransport", "connect"]

T = TypeVar("T")


def connect(host: Host) -> SSHTransport:
    """
    Open a connection to *host*.

    Raises:
        ConnectFailed: no answer, or no SSH server there.
        HostKeyRefused: its key is not known, or not the known one.
        AuthenticationFailed: no key was accepted.
    """
    return SSHTransport(host, dial(host))


class SSHTransport:
    """
    One open way to a host: a connection, and more where the host allows few sessions on one.

    Args:
        host: where to.
        connection: Fabric's, open.
    """

    def __init__(self, host: Host, connection: Any) -> None:
        self._host = host
        self._links = [Link(connection)]
        self._growing = threading.Lock()
        self._files: SSHFiles | None = None
        self._files_lock = threading.Lock()
        self._closed = False

    @property
    def links(self) -> tuple[Link, ...]:
        """The connections that are open, in the order in which they were made."""
        return tuple(self._links)

    def execute(
        self,
        command: str,
        stdin: bytes = b"",
        *,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `Transport`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._converse([message(command, stdin)], deadline, on_output)

    def feed(self, command: str, pieces: Iterable[bytes]) -> Completed:
        """See `Transport`."""
        return self._converse(chain([message(command)], pieces))

    def _converse(
        self,
        pieces: Iterable[bytes],
        deadline: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        shell = self.shell()
        try:
            said = converse(shell.channel, pieces, deadline, on_output)
        finally:
            shell.close()
        # A spare can end in the moment in which it is chosen; what it then says is no answer.
        if not said.ended or (shell.spare and not said.begun):
            raise self._lost("a command")
        return Completed(said.exit_code, said.stdout, said.stderr, said.begun)

    def hold(self, command: str) -> SSHHeld:
        """See `Transport`."""
        text = message(command)
        shell = self.shell()
        try:
            shell.channel.sendall(text)
        except LOST as error:
            shell.close()
            raise self._lost("a command") from error
        return SSHHeld(shell, self._lost)

    def files(self, *, apart: bool = False) -> SSHFiles:
        """See `Transport`."""
        if apart:
            return self._opened_files()
        with self._files_lock:
            if self._files is None or not self._files.alive:
                self._files = self._opened_files()
            return self._files

    def _opened_files(self) -> SSHFiles:
        channel = self._with_room(Link.session)
        try:
            return SSHFiles(channel, self._host.label)
        except LOST as error:
            raise self._lost("opening SFTP") from error

    def close(self) -> None:
        """See `Transport`."""
        self._closed = True
        for link in self.links:
            link.close()

    def shell(self) -> Shell:
        """
        Return a channel on which our `sh` waits for its line.

        Raises:
            LinkLost: the connection ended.
            TransportError: the host allows no session.
        """
        return self._with_room(Link.shell)

    def _with_room(self, take: Callable[[Link], T]) -> T:
        tried = 0
        while True:
            for link in self.links[tried:]:
                try:
                    return take(link)
                except NoRoom:
                    tried += 1
                except LOST as error:
                    raise self._lost("opening a channel") from error
            self._another(tried)

    def _another(self, tried: int) -> None:
        """Open one more connection, unless somebody has done so meanwhile."""
        with self._growing:
            if len(self._links) > tried:
                return
            if tried == limits.LINKS or not self._links[-1].busy:
                raise TransportError(
                    f"{self._host.label} allows no further session",
                    then="raise MaxSessions in its sshd_config",
                )
            try:
                link = Link(dial(self._host))
            except ConnectFailed as error:
                raise self._lost("opening another connection") from error
            self._links.append(link)
            if self._closed:
                link.close()

    def _lost(self, during: str) -> LinkLost:
        return LinkLost(f"the connection to {self._host.label} was lost during {during}")


class SSHHeld:
    """A command with its input left open."""

    def __init__(self, shell: Shell, lost: Callable[[str], LinkLost]) -> None:
        self._shell: Shell | None = shell
        self._lost = lost

    def beat(self) -> None:
        """See `Held`."""
        try:
            sent = self._shell.channel.send(b"\n") if self._shell else 0
        except LOST as error:
            raise self._lost("a heartbeat") from error
        if not sent:
            raise self._lost("a heartbeat")

    def close(self) -> None:
        """See `Held`."""
        if self._shell:
            self._shell.close()
            self._shell = None
