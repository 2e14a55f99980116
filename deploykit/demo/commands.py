"""One command on one SSH channel, run as OpenSSH runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from typing import Self

    from deploykit.demo.host import DemoHost

__all__ = ["Channel", "run_command"]

CHUNK = 256 * 1024
COULD_NOT_START = 254
NO_SUBSYSTEM = 1
# The signals that RFC 4254 has names for; OpenSSH gives the others one of its own.
NAMED = frozenset(
    {
        *("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL"),
        *("PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"),
    }
)

Channel = asyncssh.SSHServerProcess[bytes]


async def run_command(channel: Channel, host: DemoHost) -> None:
    """
    Run the command of *channel* on *host*, and report how it ended.

    The command leads a session of its own. When the client goes away nobody ends it: it meets
    closed pipes, as under a real sshd.

    The channel stays open while anything, a child in the background say, holds the output.
    OpenSSH does so too, but sends the exit code before; asyncssh can send it only at the end.
    """
    if channel.subsystem is not None:
        channel.exit(NO_SUBSYSTEM)
        return
    out, err = await _Pipe.open(), await _Pipe.open()
    try:
        command = await _start(channel.command, host, out.end, err.end)
    except OSError as error:
        channel.stderr.write(f"cannot start the command: {error}\n".encode())
        channel.exit(COULD_NOT_START)
        out.transport.close()
        err.transport.close()
        return
    helpers = [
        asyncio.create_task(_feed(channel, command)),
        asyncio.create_task(_hang_up(channel, out, err)),
    ]
    try:
        await asyncio.gather(
            _forward(out.reader, channel.stdout),
            _forward(err.reader, channel.stderr),
            command.wait(),
        )
    finally:
        for helper in helpers:
            helper.cancel()
        _signal(command, "KILL")
    _report(channel, await command.wait())


@dataclass(frozen=True)
class _Pipe:
    """A pipe whose reading end is ours; the writing end is the command's."""

    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport
    end: int

    @classmethod
    async def open(cls) -> Self:
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader(limit=CHUNK)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
        )
        return cls(reader, transport, theirs)


async def _start(
    script: str | None, host: DemoHost, out: int, err: int
) -> asyncio.subprocess.Process:
    """Start the user's shell on *script*, or on what comes in; use up the two descriptors."""
    try:
        return await asyncio.create_subprocess_exec(
            *("/bin/sh",) if script is None else ("/bin/sh", "-c", script),
            stdin=asyncio.subprocess.PIPE,
            stdout=out,
            stderr=err,
            cwd=host.home,
            env=host.environment(),
            start_new_session=True,
        )
    finally:
        os.close(out)
        os.close(err)


async def _forward(reader: asyncio.StreamReader, writer: asyncssh.SSHWriter[bytes]) -> None:
    """Send what the command prints, until it ends or nobody listens."""
    with suppress(OSError, asyncssh.Error):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


async def _hang_up(channel: Channel, *pipes: _Pipe) -> None:
    """Close the command's output once the client is gone: its next write fails."""
    await channel.channel.wait_closed()
    for pipe in pipes:
        pipe.transport.close()


async def _feed(channel: Channel, command: asyncio.subprocess.Process) -> None:
    """Hand the client's input to the command, and its signals to the command's session."""
    stdin = command.stdin
    assert stdin is not None  # noqa: S101 (it was asked for as a pipe)
    try:
        while (data := await _receive(channel, command)) != b"":
            # A command that reads no more does not stop the client from sending.
            with suppress(OSError):
                if not stdin.is_closing():
                    stdin.write(data)
                    await stdin.drain()
    finally:
        stdin.close()


async def _receive(channel: Channel, command: asyncio.subprocess.Process) -> bytes:
    """Return the client's next input; nothing once there is no more, or no client."""
    while True:
        try:
            return await channel.stdin.read(CHUNK)
        except asyncssh.SignalReceived as request:
            _signal(command, request.signal)
        except asyncssh.BreakReceived:
            continue
        except (OSError, asyncssh.Error):
            return b""


def _signal(command: asyncio.subprocess.Process, name: str) -> None:
    if sys.platform != "win32" and name in NAMED and command.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.Signals[f"SIG{name}"])


def _report(channel: Channel, status: int) -> None:
    """Send the exit code, or the signal that ended the command, if anybody still listens."""
    if status >= 0:
        channel.exit(status)
        return
    name = signal.Signals(-status).name.removeprefix("SIG")
    channel.exit_with_signal(name if name in NAMED else "SIG@openssh.com")
