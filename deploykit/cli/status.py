"""`deploykit status`: measure what is running."""

import sys
from typing import TYPE_CHECKING, Any

import typer

from deploykit.cli import chosen
from deploykit.cli.answer import answering, say
from deploykit.cli.options import EnvironmentName, Json, LogFormatOption
from deploykit.cli.telling import only_json, told

if TYPE_CHECKING:
    from deploykit.engine.outcome import HostStatus, StatusResult

EXAMPLE = "deploykit status production"


def status(
    ctx: typer.Context,
    environment: EnvironmentName,
    as_json: Json = False,
    log_format: LogFormatOption = None,
) -> None:
    """
    Measure what runs on each host, and what could be undone.

    --json: {"environment", "ok", "hosts": [{"host", "release", "state", "services": [{"name",
    "release", "ok", "proven"}]}], "migration": {"wanted", "is"} or null, "lock": {"run", "by",
    "reason", "at"} or null, "unfinished_run": id or null, "unfinished_state": state or null,
    "guardian": text or null, "undoable": {"rung", "until"} or null, "leftovers"}.

    Exit codes: 0 all as wanted; 1 not; 2 a host cannot be asked.
    """
    from deploykit.engine import api
    from deploykit.report.status import status_lines
    from deploykit.report.style import Paint, terminal_width

    with answering(as_json) as answer:
        found = chosen.environment(ctx, environment)
        with told(*only_json(ctx, log_format)) as listeners:
            result = api.status(found, listeners=listeners)
        if as_json:
            answer.give(status_document(result))
        else:
            say(*status_lines(result, Paint(sys.stdout), terminal_width(sys.stdout)))
    raise typer.Exit(0 if result.ok else 1)


def status_document(result: "StatusResult") -> dict[str, Any]:
    """Return *result* as DESIGN promises it to outside programs."""
    from dataclasses import asdict

    migrations = [m for host in result.hosts for m in host.measures if m.kind == "migration"]
    wrong = [measure for measure in migrations if not measure.ok]
    migration = next(iter(wrong or migrations), None)
    return {
        "environment": result.environment,
        "ok": result.ok,
        "hosts": [_host(host) for host in result.hosts],
        "migration": {"wanted": migration.wanted, "is": migration.is_} if migration else None,
        "lock": asdict(result.lock) if result.lock else None,
        "unfinished_run": result.unfinished_run or None,
        "unfinished_state": result.unfinished_state or None,
        "guardian": result.guardian or None,
        "undoable": None
        if result.rung is None
        else {"rung": result.rung, "until": result.until or None},
        "leftovers": list(result.leftovers),
    }


def _host(host: "HostStatus") -> dict[str, Any]:
    return {
        "host": host.host,
        "release": host.release or None,
        "state": host.state or None,
        "services": [
            {"name": m.name, "release": m.is_ or None, "ok": m.ok, "proven": m.proven}
            for m in host.measures
            if m.kind == "service"
        ],
    }
