"""A web page's answer as a value, and what is expected of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from deploykit.errors import ConfigurationError

__all__ = ["Answer", "Expected", "Limits", "checked_url"]

SHOWN = 200  # characters of a body's first line that an error repeats


@dataclass(frozen=True)
class Limits:
    """
    How much of a page, and of our time, a fetch may take.

    Args:
        max_bytes: of the body.
        max_seconds: from the first packet to the last, redirects included.
        redirects: how many are followed.
    """

    max_bytes: int
    max_seconds: float
    redirects: int = 0


@dataclass(frozen=True)
class Answer:
    """
    What came back.

    Args:
        status: of the last response; 0 if there was none.
        body: what was read of it.
        seconds: how long it took.
        redirects: how many were followed.
        problem: why there is no whole answer; empty if there is one.
        final: trying again cannot help.
    """

    status: int = 0
    body: bytes = b""
    seconds: float = 0.0
    redirects: int = 0
    problem: str = ""
    final: bool = False

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode(errors="replace")

    @property
    def summary(self) -> str:
        """Return in one line what came: status, time, size, and how the body begins."""
        words = [f"status {self.status}" if self.status else "no answer"]
        words += [f"{self.seconds:.1f} s", f"{len(self.body)} bytes"]
        if self.redirects:
            words.append(f"{self.redirects} redirects")
        first = next((line.strip() for line in self.text.splitlines() if line.strip()), "")
        printable = "".join(c if c.isprintable() else "?" for c in first[:SHOWN])
        return ", ".join(words) + (f": {printable!r}" if printable else "")


@dataclass(frozen=True)
class Expected:
    """
    What a right answer is.

    Args:
        status: its status.
        contains: a text in its body.
        matches: a regular expression found in its body.
    """

    status: int = 200
    contains: str | None = None
    matches: str | None = None

    def complaint(self, answer: Answer) -> str:
        """Return what is wrong with *answer*; empty if nothing is."""
        if answer.problem:
            return answer.problem
        if answer.status != self.status:
            return f"status {answer.status} instead of {self.status}"
        if self.contains is not None and self.contains not in answer.text:
            return f"the page does not contain {self.contains!r}"
        if self.matches is not None and not re.search(self.matches, answer.text):
            return f"the page does not match {self.matches!r}"
        return ""


def checked_url(url: str, stage: str) -> str:
    """
    Return *url* if a page can be fetched there.

    Raises:
        ConfigurationError: it is no http or https URL, or holds a password, which the journal
            would keep.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname)
        has_user = parts.username is not None
        _ = parts.port  # raises where it is no number
    except ValueError:
        fine, has_user = False, False
    if not fine or re.search(r"[\s\x00-\x1f]", url):
        raise ConfigurationError(f"{stage}({url!r}): a URL such as 'https://shop.example/healthz'")
    if has_user:
        raise ConfigurationError(
            f"{stage}: a URL with a user or password in it would stand in the journal",
            then="check a page that needs no login",
        )
    return url
