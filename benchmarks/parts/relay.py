"""
A TCP relay that takes its time, for a kernel that cannot delay packets.

    python benchmarks/parts/relay.py TARGET:PORT SECONDS[@BYTES]...

Listens on a port of its own for each round-trip time, and prints the ports on one line. Where BYTES
a second are given, no more go either way; else nothing is slower through it, only later, and what
is in flight is not bounded.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

PIECE = 1 << 16
WAITING = 0.05  # seconds of a narrow link that its near end may be ahead, as a router's buffer is


async def forward(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    way: float,
    first: float,
    rate: float,
) -> None:
    """Pass on what comes, each piece *way* seconds later, and all by *first* more in the start."""
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    sender = asyncio.create_task(send(writer, pieces))
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(first)
    free = clock()  # when the link has sent all that came so far
    with suppress(OSError):
        while data := await reader.read(PIECE):
            free = max(free, clock()) + len(data) / rate
            pieces.put_nowait((free + way, data))
            if free - clock() > WAITING:
                await asyncio.sleep(free - clock() - WAITING)
    pieces.put_nowait((max(free, clock()) + way, b""))
    await sender


async def send(writer: asyncio.StreamWriter, pieces: asyncio.Queue[tuple[float, bytes]]) -> None:
    """Write each piece when it is due; an empty one is the end."""
    clock = asyncio.get_running_loop().time
    with suppress(OSError):
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def listen(host: str, port: int, trip: float, rate: float) -> int:
    """Relay to *port* of *host* with a round trip of *trip* seconds; return the port here."""

    async def serve(near: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        far, ask = await asyncio.open_connection(host, port)
        for writer in (answer, ask):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The near side was connected at once. Over a network that takes a round trip, and the far
        # side, which may speak first, hears of it half a round trip later.
        try:
            await asyncio.gather(
                forward(near, ask, trip / 2, trip, rate),
                forward(far, answer, trip / 2, trip * 1.5, rate),
            )
        finally:
            ask.close()
            answer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


async def main() -> None:
    """Relay until this process is ended."""
    host, _, port = sys.argv[1].rpartition(":")
    ports = []
    for word in sys.argv[2:]:
        trip, _, rate = word.partition("@")
        ports.append(await listen(host, int(port), float(trip), float(rate or "inf")))
    print(*ports, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
