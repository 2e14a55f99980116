"""One stream of events; console, JSON and files are listeners on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import structlog

from deploykit.errors import Interrupted
from deploykit.scrub import Scrubber

__all__ = ["Event", "Events", "Listener"]

Event = Mapping[str, Any]
Listener = Callable[[Event], None]
# Never secret, and needed whole by whoever reads events, even where a password is "deploy".
NAMES = {"at", "event", "run", "release", "environment", "stage", "host"}


class Events:
    """
    Tells every listener of what happened: past-tense names with bound keys.

    structlog carries them, wrapped privately: the library never configures structlog for the
    program that imports it.
    """

    def __init__(
        self, listeners: Sequence[Listener] = (), scrubber: Scrubber | None = None
    ) -> None:
        self.scrubber = scrubber or Scrubber()
        self._fanout = _Fanout(listeners)
        self._log = structlog.wrap_logger(
            self._fanout,
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
                self._scrub,
                lambda _logger, _method, event: ((dict(event),), {}),
            ],
            wrapper_class=structlog.BoundLogger,
        )

    def bind(self, **keys: Any) -> Events:
        """Return the same stream with *keys* on each of its events."""
        bound = object.__new__(Events)
        bound.scrubber = self.scrubber
        bound._fanout = self._fanout
        bound._log = self._log.bind(**keys)
        return bound

    def listen(self, listener: Listener) -> None:
        """Add a listener from now on."""
        self._fanout.listeners.append(listener)

    def tell(self, event: str, **keys: Any) -> None:
        """Tell that *event* happened."""
        self._log.info(event, **keys)

    def _scrub(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {
            key: value if key in NAMES else self.scrubber.any(value) for key, value in event.items()
        }


class _Fanout:
    """structlog's end of the line: hands each event to each listener, one at a time."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = list(listeners)
        self._lock = threading.RLock()

    def info(self, event: Event) -> None:
        """Hand *event* on."""
        with self._lock:
            for listener in list(self.listeners):
                try:
                    listener(event)
                except Interrupted:  # a signal came while it listened
                    raise
                except Exception as error:  # noqa: BLE001  # who only listens must not end a deploy
                    self.listeners.remove(listener)
                    self.info({**event, "event": "listener_failed", "error": repr(error)})
