"""The SSH server of the demo: asyncssh on a free port of 127.0.0.1, in a thread of ours."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from posixpath import join
from typing import TYPE_CHECKING

import asyncssh

from deploykit.demo.commands import Channel, run_command
from deploykit.demo.host import DemoHost
from deploykit.demo.keys import DemoKeys
from deploykit.demo.leftovers import end_processes

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["DemoServer"]

ADDRESS = "127.0.0.1"
BACKLOG = 512


class DemoServer:
    """
    An SSH server that plays a host: commands and SFTP, for one name and one key.

    Commands and SFTP see the same files, those of this machine; what belongs to the host is
    below *directory*. Terminals and forwarding are refused.

    Args:
        directory: a folder that the host may fill; removing it is the caller's affair.
    """

    def __init__(self, directory: Path) -> None:
        self.host = DemoHost(directory)
        self.address = ADDRESS
        self.port = 0
        self._keys = DemoKeys.generate(directory)
        self._listening: Future[int] = Future()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-ssh-server", daemon=True)

    @property
    def user(self) -> str:
        """The name that may log in."""
        return self.host.user

    @property
    def identity(self) -> Path:
        """The file of the private key that may log in."""
        return self._keys.identity

    @property
    def host_key(self) -> str:
        """The server's public key, as `Host(host_key=…)` takes it."""
        return self._keys.host_key

    def start(self) -> None:
        """
        Listen; `port` is known when this returns.

        Raises:
            OSError: no port could be bound.
            RuntimeError: the server ended for another reason, which its thread has reported.
        """
        self.host.prepare()
        self._thread.start()
        self.port = self._listening.result()

    def close(self) -> None:
        """Stop listening, drop every connection, and end what the commands have left running."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            if self._listening.done():
                raise
            self._listening.set_exception(error)
        finally:
            # Whatever went wrong, start() must not wait for ever.
            if not self._listening.done():
                self._listening.set_exception(RuntimeError("the demo's SSH server did not start"))

    async def _serve(self) -> None:
        logins: set[_Login] = set()
        commands: set[asyncio.Task[None]] = set()

        def take(channel: Channel) -> None:
            command = asyncio.create_task(run_command(channel, self.host))
            commands.add(command)
            command.add_done_callback(commands.discard)

        listener = await asyncssh.listen(
            ADDRESS,
            0,
            server_factory=lambda: _Login(logins, self.user, self._keys.login),
            server_host_keys=[self._keys.host],
            process_factory=take,
            sftp_factory=lambda channel: _Files(channel, self.host),
            encoding=None,
            allow_pty=False,
            agent_forwarding=False,
            backlog=BACKLOG,
        )
        self._listening.set_result(listener.get_port())
        await asyncio.to_thread(self._closing.wait)
        listener.close()
        for login in tuple(logins):
            login.drop()
        await listener.wait_closed()
        # While the loop still runs, so that it sees its commands end.
        await asyncio.to_thread(end_processes, self.host.mark)
        for command in commands:
            command.cancel()
        await asyncio.gather(*commands, return_exceptions=True)


class _Login(asyncssh.SSHServer):
    """One connection, which must come with the right name and the right key."""

    def __init__(self, logins: set[_Login], user: str, key: asyncssh.SSHKey) -> None:
        self._logins = logins
        self._user = user
        self._key = key.convert_to_public()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._logins.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._logins.discard(self)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._user and key == self._key

    def drop(self) -> None:
        """End the connection without asking the client."""
        self._connection.abort()


class _Files(asyncssh.SFTPServer):
    """SFTP on the files of this machine; paths that are not absolute begin at the home."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], host: DemoHost) -> None:
        super().__init__(channel)
        self._home = str(host.home).encode()

    def map_path(self, path: bytes) -> bytes:
        """Return *path* as a command that is started in the home understands it."""
        return join(self._home, path)
