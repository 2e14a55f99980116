"""Tells people elsewhere that a run failed or was rolled back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from deploykit.errors import ConfigurationError, DeploykitError
from deploykit.secrets import Secret

__all__ = ["News", "Notifier", "Webhook", "notify"]

TIMEOUT = 10.0  # seconds: a chat that is down must not hold a rollback up
News = Mapping[str, Any]
ReadSecret = Callable[[Secret], str]


class Notifier(Protocol):
    """Somebody who is told; what `Environment(notify=[…])` takes."""

    def send(self, news: News, secret: ReadSecret) -> None:
        """
        Tell *news*.

        Args:
            news: `event`, `text`, `environment`, `run`, `release`, `state`, `exit_code`, `error`.
            secret: returns a secret's value.

        Raises:
            DeploykitError: it could not be told; that is a warning, and changes no exit code.
        """


@dataclass(frozen=True)
class Webhook:
    """
    Send news as JSON by POST to a URL, as chat services take it: `text` is a sentence.

    Args:
        url: the address, or a secret that holds it.
    """

    url: str | Secret

    def __post_init__(self) -> None:
        if isinstance(self.url, str):
            _checked(self.url)

    def send(self, news: News, secret: ReadSecret) -> None:
        """See `Notifier.send`."""
        import httpx  # a tenth of a second, and only a failure needs it

        url = self.url if isinstance(self.url, str) else _checked(secret(self.url))
        place = urlsplit(url).hostname
        try:
            answer = httpx.post(url, json=dict(news), timeout=TIMEOUT)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The address itself is a secret in most chat services: only its host is named.
            raise DeploykitError(f"webhook at {place}: {type(error).__name__}") from error
        if not answer.is_success:
            raise DeploykitError(f"webhook at {place} answered {answer.status_code}")


def notify(
    notifiers: Sequence[Notifier], news: News, secret: ReadSecret, tell: Callable[..., None]
) -> tuple[str, ...]:
    """
    Tell *news* to all *notifiers*, whatever happens to one of them.

    Args:
        notifiers: of the environment.
        news: see `Notifier.send`.
        secret: returns a secret's value.
        tell: told `notified` or `notify_failed` for each.

    Returns:
        A warning for each that could not be told.
    """
    warnings = []
    for notifier in notifiers:
        name = type(notifier).__name__
        try:
            notifier.send(news, secret)
        except Exception as error:  # noqa: BLE001  # a notifier of the user's may raise anything
            said = error.what if isinstance(error, DeploykitError) else f"{name}: {error}"
            warnings.append(f"could not notify: {said}")
            tell("notify_failed", to=name, error=said)
        else:
            tell("notified", to=name)
    return tuple(warnings)


def _checked(url: str) -> str:
    """Return *url*; the error for another one does not show it, since it may hold a token."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("Webhook(…) takes an http:// or https:// address")
    return url
