"""Waiting until services are proved to run a release, and saying why they do not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from deploykit.errors import StageFailed
from deploykit.hiding import hidden
from deploykit.publishing import Mark
from deploykit.services.base import Place, Service
from deploykit.services.facts import Facts
from deploykit.services.proof import Verdict, judge
from deploykit.stage import Acting, Planning
from deploykit.web.answer import Limits
from deploykit.web.from_host import fetch

__all__ = ["Claim", "failed", "look", "prove", "says_release"]

EVERY = 0.25  # seconds between two looks
SETTLE = 1.0  # a process that dies at once has done so within this time
PAGE = Limits(max_bytes=1 << 20, max_seconds=5.0)


@dataclass(frozen=True)
class Claim:
    """
    What has to be proved of a service.

    Args:
        service: which.
        place: the release that it is to run.
        mark: when the link moved there.
    """

    service: Service
    place: Place
    mark: Mark


def look(ctx: Planning, service: Service, place: Place) -> Facts:
    """Return what *service* is doing now."""
    found = ctx.host.query(service.look_script(place), env=ctx.env, check=False)
    if not found.ok:
        return Facts("unknown", f"not to be seen: looking at it failed (exit {found.exit_code})")
    return service.read(found.output)


def prove(
    ctx: Acting,
    claims: Sequence[Claim],
    *,
    within: float,
    url: str | None = None,
    unproven: bool = False,
) -> None:
    """
    Wait until every claim is proved, and then holds for a second more.

    Args:
        ctx: what the stage was given.
        claims: one a service.
        within: seconds until this is given up.
        url: a page that answers the release's id: the proof where processes cannot tell.
        unproven: what cannot be told is accepted, as long as the service is up.

    Raises:
        StageFailed: one is not proved in time, or went down.
    """
    deadline = time.monotonic() + within
    while True:
        seen = [_examine(ctx, claim, url, unproven) for claim in claims]
        if all(verdict.outcome == "proven" for _, verdict in seen):
            ctx.sleep(SETTLE)
            again = [_examine(ctx, claim, url, unproven) for claim in claims]
            seen = [_settled(before, after) for before, after in zip(seen, again, strict=True)]
            if all(verdict.outcome == "proven" for _, verdict in seen):
                return
        late = time.monotonic() > deadline
        for claim, (_, verdict) in zip(claims, seen, strict=True):
            if verdict.outcome == "dead" or (late and verdict.outcome != "proven"):
                raise failed(ctx, claim.service, claim.place.release, verdict.why)
        ctx.sleep(EVERY)


def says_release(ctx: Planning, url: str, release: str) -> str:
    """Return why the page *url*, fetched on the host, does not name *release*; empty if it does."""
    answer = fetch(ctx.host, url, PAGE)
    if answer.problem:
        return answer.problem
    return "" if release in answer.text else f"{url} answers {answer.status} without naming it"


def failed(ctx: Acting, service: Service, release: str, why: str) -> StageFailed:
    """Return the error of a service that does not run *release*, with the end of its log."""
    log = service.log_script()
    lines = ctx.host.query(log, check=False).output.splitlines()[-10:] if log else []
    text = "".join(f"\n  | {hidden(ctx, line)}" for line in lines)
    return StageFailed(
        f"{service.label} on {ctx.host.name} does not run release {release}: {why}{text}",
        then=f"look at: {service.where_to_look()}   (on {ctx.host.name})",
    )


def _examine(ctx: Planning, claim: Claim, url: str | None, unproven: bool) -> tuple[Facts, Verdict]:
    facts = look(ctx, claim.service, claim.place)
    release = claim.place.release
    verdict = judge(facts, release, claim.mark, reloads=claim.service.reloads)
    if verdict.outcome != "unknown":
        return facts, verdict
    if url:
        complaint = says_release(ctx, url, release)
        return facts, Verdict("no", complaint) if complaint else Verdict("proven")
    return facts, Verdict("proven") if unproven else verdict


def _settled(before: tuple[Facts, Verdict], after: tuple[Facts, Verdict]) -> tuple[Facts, Verdict]:
    """Return what holds now, if it is still what held a moment ago."""
    (then, _), (now, verdict) = before, after
    if verdict.outcome == "proven" and (then.mains, then.restarts) != (now.mains, now.restarts):
        return now, Verdict("no", f"it does not stay up: {now.said}")
    return after
