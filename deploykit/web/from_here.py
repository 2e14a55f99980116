"""Fetching a page from the operator's machine, by httpx."""

from __future__ import annotations

import ssl
import threading
import time
from typing import TYPE_CHECKING

from deploykit.web.answer import Answer, Limits

if TYPE_CHECKING:
    import httpx

__all__ = ["fetch"]


def fetch(url: str, limits: Limits) -> Answer:
    """
    Fetch *url*; TLS is verified.

    The whole of it, name resolution included, ends in time: it runs in a thread of its own, which
    is left behind where it hangs.
    """
    found: list[Answer] = []
    began = time.monotonic()
    fetching = _Fetch(limits)
    thread = threading.Thread(target=lambda: found.append(fetching.run(url)), daemon=True)
    thread.start()
    thread.join(limits.max_seconds)
    if found:
        return found[0]
    fetching.given_up.set()
    return Answer(
        fetching.status,
        bytes(fetching.body[: limits.max_bytes]),
        time.monotonic() - began,
        fetching.redirects,
        f"no whole answer within {limits.max_seconds:g} s",
    )


class _Fetch:
    """One fetch, and what it has seen so far."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.given_up = threading.Event()
        self.status = 0
        self.redirects = 0
        self.body = bytearray()

    def run(self, url: str) -> Answer:
        """Fetch *url* to the end, or until it was given up."""
        import httpx

        began = time.monotonic()
        problem, final = "", False
        try:
            # A compressed page could grow beyond any limit in one piece.
            headers = {"Accept-Encoding": "identity", "User-Agent": "deploykit"}
            with httpx.Client(timeout=self.limits.max_seconds, headers=headers) as client:
                problem = self._follow(client, client.build_request("GET", url))
                final = bool(problem)
        except httpx.TransportError as error:
            problem, final = _named(error)
        except (httpx.InvalidURL, httpx.HTTPError, UnicodeError) as error:
            problem, final = f"it cannot be fetched: {error}", True
        seconds = time.monotonic() - began
        body = bytes(self.body[: self.limits.max_bytes])
        return Answer(self.status, body, seconds, self.redirects, problem, final)

    def _follow(self, client: httpx.Client, request: httpx.Request) -> str:
        """Follow redirects without reading their bodies; return what is wrong at the end."""
        while True:
            response = client.send(request, stream=True)
            try:
                self.status = response.status_code
                if response.next_request is None or not self.limits.redirects:
                    return self._read(response)
                if self.redirects == self.limits.redirects:
                    return f"more than {self.limits.redirects} redirects"
            finally:
                response.close()
            self.redirects += 1
            request = response.next_request

    def _read(self, response: httpx.Response) -> str:
        for piece in response.iter_bytes():
            self.body += piece
            if len(self.body) > self.limits.max_bytes:
                return f"the page is larger than {self.limits.max_bytes} bytes"
            if self.given_up.is_set():
                break
        return ""


def _named(error: httpx.TransportError) -> tuple[str, bool]:
    """Return what a transport error means, and whether trying again is of no use."""
    import httpx

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate cannot be verified: {cause.verify_message}", True
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.UnsupportedProtocol):
        return f"it leads to what is not a web page: {error}", True
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time", False
    return f"{str(error) or type(error).__name__}", False
