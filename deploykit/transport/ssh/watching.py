"""
Notices a peer that is gone or frozen, whatever we are waiting for.

The kernel knows only whether the other kernel answers. A server that hangs, or one behind a jump
host, shows only by saying nothing: so it is asked for an answer that every SSH server must give.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import paramiko

from deploykit.transport.ssh import limits

__all__ = ["watch"]

ENDED = (paramiko.SSHException, EOFError, OSError)
TICKS = 6  # in the time after which a silent peer is given up


def watch(transport: paramiko.Transport) -> None:
    """
    End *transport* when nothing has come from its peer for `DEAD_AFTER` seconds.

    Whoever waits for something is woken by that, and finds the connection lost.
    """
    heard = threading.Event()
    read = transport.packetizer.read_message

    def listening() -> Any:
        packet = read()
        heard.set()
        return packet

    transport.packetizer.read_message = listening  # type: ignore[method-assign]
    # Two threads: asking can block, where the network takes no more or keys are being renewed.
    for work in (_ask, _judge):
        name = f"{work.__name__.strip('_')} {transport.name}"
        threading.Thread(target=work, args=(transport, heard), name=name, daemon=True).start()


def _ask(transport: paramiko.Transport, _heard: threading.Event) -> None:
    while transport.is_active():
        try:
            transport.global_request("keepalive@openssh.com", wait=True)
        except ENDED:
            continue  # keys are being renewed, or it has ended
        transport.join(limits.DEAD_AFTER / 3)


def _judge(transport: paramiko.Transport, heard: threading.Event) -> None:
    # Ticks are counted, not seconds: a process that was stopped for a while has not listened.
    quiet = 0
    while quiet < TICKS - 1:
        transport.join(limits.DEAD_AFTER / TICKS)
        if not transport.is_alive():
            return
        quiet = 0 if heard.is_set() else quiet + 1
        heard.clear()
    with suppress(*ENDED):  # what carried it, a connection to a jump host, may be gone, too
        transport.close()
