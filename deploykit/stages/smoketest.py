"""SmokeTest: a page that must answer as users would see it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from deploykit.errors import ConfigurationError
from deploykit.stage import Acting, Placement, Planning
from deploykit.web import from_here, from_host
from deploykit.web.answer import Answer, Expected, Limits, checked_url
from deploykit.web.waiting import until_right

__all__ = ["SmokeTest", "SmokeTestPlan"]

REDIRECTS = 10


@dataclass(frozen=True)
class SmokeTestPlan:
    """
    What is asked.

    Args:
        url: the page.
        status: of a right answer.
        within: seconds until it must come.
        via: `host` if the host asks, else empty.
    """

    url: str
    status: int
    within: float
    via: str

    def describe(self) -> tuple[str, ...]:
        """Return what `deploykit plan` prints."""
        who = " when asked from the host" if self.via else ""
        return (f"{self.url} must answer {self.status}{who} within {self.within:g} s",)


@dataclass(frozen=True)
class SmokeTest:
    """
    Fetch a page, from the operator's side unless told otherwise, and judge it.

    Asked again until *within* has passed, since a service may still be starting; what cannot
    become right (a page too large, redirects for ever, a certificate that is not trusted) fails
    at once. TLS is verified.

    Args:
        url: http or https.
        status: of a right answer.
        contains: a text in the page.
        matches: a regular expression found in the page.
        max_bytes: a larger page is wrong.
        max_seconds: a page that takes longer is wrong.
        within: seconds until the right answer must come.
        via: `"host"` to ask from the first host.
        follow: follow redirects, at most ten.
        on: the role of the hosts of which the first is meant.
        name: the stage's name.
    """

    placement: ClassVar[Placement] = "first"
    is_check: ClassVar[bool] = True

    url: str
    status: int = 200
    contains: str | None = None
    matches: str | None = None
    max_bytes: int = 10_000_000
    max_seconds: float = 10
    within: float = 30
    via: Literal["host"] | None = None
    follow: bool = True
    on: str | None = None
    name: str = "smoke-test"

    def __post_init__(self) -> None:
        checked_url(self.url, "SmokeTest")
        if self.via not in (None, "host"):
            raise ConfigurationError(f"SmokeTest(via={self.via!r}): 'host', or leave it out")
        if self.max_bytes <= 0 or self.max_seconds <= 0:
            raise ConfigurationError("SmokeTest: max_bytes and max_seconds are above 0")
        try:
            re.compile(self.matches or "")
        except re.error as error:
            raise ConfigurationError(f"SmokeTest(matches={self.matches!r}): {error}") from error

    @property
    def needs_shell(self) -> bool:
        """Whether the host is to ask."""
        return self.via == "host"

    def plan(self, ctx: Planning) -> SmokeTestPlan:
        """See that the host, if it is to ask, has a program for it."""
        if self.via and not from_host.has_tool(ctx.host):
            raise ConfigurationError(
                f"{ctx.host.name} has neither curl nor python3 nor wget",
                state="nothing was touched",
                then=f"as root on {ctx.host.name}: apt-get install curl",
            )
        return SmokeTestPlan(self.url, self.status, self.within, self.via or "")

    def apply(self, ctx: Acting, plan: SmokeTestPlan) -> None:
        """Fetch until the answer is right."""
        limits = Limits(self.max_bytes, self.max_seconds, REDIRECTS if self.follow else 0)

        def ask() -> Answer:
            if plan.via:
                return from_host.fetch(ctx.host, plan.url, limits)
            return from_here.fetch(plan.url, limits)

        asked = f"{plan.url} (asked from {ctx.host.name})" if plan.via else plan.url
        expected = Expected(plan.status, self.contains, self.matches)
        until_right(ctx, asked, ask, expected, plan.within)

    def undo(self, ctx: Acting, plan: SmokeTestPlan) -> None:
        """Nothing was changed."""
