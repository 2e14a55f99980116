"""HealthCheck: a page that each host must answer to itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploykit.errors import ConfigurationError
from deploykit.stage import Acting, Placement, Planning
from deploykit.web.answer import Answer, Expected, Limits
from deploykit.web.from_host import fetch, has_tool
from deploykit.web.waiting import until_right

__all__ = ["HealthCheck", "HealthCheckPlan"]

LIMITS = Limits(max_bytes=1 << 20, max_seconds=10.0)


@dataclass(frozen=True)
class HealthCheckPlan:
    """
    What is asked of one host.

    Args:
        url: on the host itself.
        status: of a right answer.
        within: seconds until it must come.
    """

    url: str
    status: int
    within: float

    def describe(self) -> tuple[str, ...]:
        """Return what `deploykit plan` prints."""
        return (f"{self.url} must answer {self.status} within {self.within:g} s",)


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """
    Ask each host, from the host itself, for a page.

    Redirects are not followed: they are an answer of their own.

    Args:
        port: where the application listens on 127.0.0.1.
        path: the page.
        status: of a right answer.
        within: seconds until it must come.
        host: the `Host` header, where the application insists on its own name.
        on: the role of its hosts; all by default.
        name: the stage's name.
    """

    placement: ClassVar[Placement] = "each"
    is_check: ClassVar[bool] = True

    port: int
    path: str = "/"
    status: int = 200
    within: float = 30
    host: str = ""
    on: str | None = None
    name: str = "health-check"

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ConfigurationError(f"HealthCheck(port={self.port}): from 1 to 65535")
        if not self.path.startswith("/") or any(c.isspace() for c in self.path):
            raise ConfigurationError(f"HealthCheck(path={self.path!r}): such as '/healthz'")
        if any(c.isspace() for c in self.host):
            raise ConfigurationError(f"HealthCheck(host={self.host!r}): a name")

    def plan(self, ctx: Planning) -> HealthCheckPlan:
        """See that the host has a program that can ask."""
        if not has_tool(ctx.host):
            raise ConfigurationError(
                f"{ctx.host.name} has neither curl nor python3 nor wget",
                state="nothing was touched",
                then=f"as root on {ctx.host.name}: apt-get install curl",
            )
        url = f"http://127.0.0.1:{self.port}{self.path}"
        return HealthCheckPlan(url, self.status, self.within)

    def apply(self, ctx: Acting, plan: HealthCheckPlan) -> None:
        """Ask until the answer is right."""

        def ask() -> Answer:
            return fetch(ctx.host, plan.url, LIMITS, self.host)

        until_right(ctx, f"{plan.url} on {ctx.host.name}", ask, Expected(plan.status), plan.within)

    def undo(self, ctx: Acting, plan: HealthCheckPlan) -> None:
        """Nothing was changed."""
