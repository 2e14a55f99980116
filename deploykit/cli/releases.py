"""`deploykit releases`: list what is on the hosts."""

import sys
from typing import TYPE_CHECKING, Any

import typer

from deploykit.cli import chosen
from deploykit.cli.answer import answering, say
from deploykit.cli.options import EnvironmentName, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploykit.engine.outcome import HostStatus
    from deploykit.report.words import Tone

EXAMPLE = "deploykit releases production"


def releases(ctx: typer.Context, environment: EnvironmentName, as_json: Json = False) -> None:
    """
    List the releases, newest first.

    --json: [{"id", "content", "state": "building" | "good" | "bad", "current", "created", "by",
    "commit", "rejected", "hosts"}]; "current" where a host serves it, "hosts" those that have it.
    """
    from deploykit.engine import api

    with answering(as_json) as answer:
        found = chosen.environment(ctx, environment)
        listed = releases_document(api.releases(found))
        if as_json:
            answer.give(listed)
        else:
            say(*_lines(listed, found.name))


def releases_document(hosts: "Sequence[HostStatus]") -> list[dict[str, Any]]:
    """Return the releases of all *hosts* together, newest first, as DESIGN promises."""
    found: dict[str, dict[str, Any]] = {}
    for host in hosts:
        for line in host.ledger.lines:
            entry = found.setdefault(
                line.id,
                {
                    "id": line.id,
                    "content": line.content,
                    "state": line.state,
                    "current": False,
                    "created": line.at,
                    "by": line.by,
                    "commit": line.commit,
                    "rejected": line.rejected,
                    "hosts": [],
                },
            )
            entry["current"] = entry["current"] or host.release == line.id
            entry["hosts"].append(host.host)
    return list(reversed(found.values()))


def _lines(listed: list[dict[str, Any]], environment: str) -> list[str]:
    from deploykit.report.style import Paint, terminal_width
    from deploykit.report.tables import columns

    if not listed:
        return [f"{environment}: no release yet; next: deploykit run {environment}"]
    head = ("", "release", "state", "created", "by", "commit", "content")
    tones: dict[str, Tone] = {"good": "good", "bad": "bad", "building": "warning"}
    rows = [
        (
            (
                "->" if entry["current"] else "",
                entry["id"],
                f"{entry['state']}, rejected" if entry["rejected"] else entry["state"],
                entry["created"],
                entry["by"],
                entry["commit"][:12],
                entry["content"][:12],
            ),
            tones[entry["state"]],
        )
        for entry in listed
    ]
    return columns(head, rows, Paint(sys.stdout), terminal_width(sys.stdout))
