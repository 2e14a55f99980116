"""Keeps a channel from sending after its end."""

from __future__ import annotations

import threading
from typing import Any

import paramiko
from paramiko.common import cMSG_CHANNEL_CLOSE

__all__ = ["order"]


def order(channel: paramiko.Channel) -> paramiko.Channel:
    """
    Return *channel*, from which nothing more goes out once it has said that it is closed.

    A command can end while its input is still being sent. paramiko's reader closes the channel
    then, and what another thread was about to send follows: a server hangs up on who does that.
    """
    channel.transport = _Ordered(channel.transport)  # type: ignore[assignment]  # it acts as one
    return channel


class _Ordered:
    """A transport as one channel sees it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._one = threading.Lock()
        self._over = False

    def _send_user_message(self, message: paramiko.Message) -> None:
        with self._one:
            if not self._over:
                self._over = message.asbytes().startswith(cMSG_CHANNEL_CLOSE)
                self._transport._send_user_message(message)  # noqa: SLF001

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
