"""Webhooks, against a real HTTP server in this process."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from deploykit.errors import ConfigurationError
from deploykit.notify import Webhook, notify
from deploykit.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator


NEWS = {
    "event": "run_rolled_back",
    "text": "production: run r2 was rolled back",
    "environment": "production",
    "error": "the page says 500",
}


class Chat(HTTPServer):
    """Takes messages and answers with one status."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.messages: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        """Where messages are taken."""
        return f"http://127.0.0.1:{self.server_port}/hooks/T0KEN"


class Hook(BaseHTTPRequestHandler):
    """Notes what is posted."""

    server: Chat

    def do_POST(self) -> None:  # http.server names it so
        """Take one message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Stay silent."""


@pytest.fixture
def chat() -> Iterator[Chat]:
    """Run a chat service."""
    with Chat() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def told(*notifiers: Any, url: str = "") -> tuple[tuple[str, ...], list[str]]:
    """Tell *notifiers* of a run that was rolled back; return warnings and the events' names."""
    events: list[str] = []
    warnings = notify(notifiers, NEWS, lambda _: url, lambda name, **_: events.append(name))
    return warnings, events


def test_a_webhook_is_told_what_happened(chat: Chat) -> None:
    """The message is the news, as JSON."""
    assert told(Webhook(chat.url)) == ((), ["notified"])
    (message,) = chat.messages
    assert message == NEWS


def test_the_address_may_be_a_secret(chat: Chat) -> None:
    """A secret address is read when it is needed."""
    assert told(Webhook(Secret.from_env("HOOK")), url=chat.url) == ((), ["notified"])


def test_a_refusal_is_a_warning_that_hides_the_address(chat: Chat) -> None:
    """A chat that says no stops nothing, does not hide the others, and its token is not shown."""
    good = Webhook(chat.url)
    chat.status = 500
    warnings, events = told(Webhook("http://127.0.0.1:9/T0KEN"), good)
    assert events == ["notify_failed", "notify_failed"]
    assert "500" in warnings[1]
    assert "T0KEN" not in "".join(warnings)


def test_a_notifier_that_breaks_is_a_warning() -> None:
    """A user's own notifier may raise what it likes."""

    class Broken:
        """A notifier with a mistake in it."""

        def send(self, news: object, secret: object) -> None:
            """Raise."""
            raise KeyError(repr(news), repr(secret))

    warnings, events = told(Broken())
    assert events == ["notify_failed"]
    assert "Broken" in warnings[0]


@pytest.mark.parametrize("url", ["ftp://x", "shop.example/hook", "https:///T0KEN"])
def test_a_wrong_address_is_refused_at_import_unseen(url: str) -> None:
    """What is no http address is refused before any run, without being shown."""
    with pytest.raises(ConfigurationError) as refused:
        Webhook(url)
    assert url not in str(refused.value)
