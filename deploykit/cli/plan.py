"""`deploykit plan`: say what a run would do."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploykit.cli import chosen
from deploykit.cli.answer import answering, say
from deploykit.cli.options import EnvironmentName, Json, LogFormat, LogFormatOption
from deploykit.cli.telling import Only, Teller, only_json, teller, told, wants_json

if TYPE_CHECKING:
    from deploykit.engine.outcome import PlanResult

EXAMPLE = "deploykit plan production"


def plan(
    ctx: typer.Context,
    environment: EnvironmentName,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Build nothing; say what then cannot be told.")
    ] = False,
    as_json: Json = False,
    log_format: LogFormatOption = None,
) -> None:
    """
    Ask the hosts what a run would change, and change nothing.

    --json: {"environment", "release", "content", "stages": [{"name", "hosts": [{"host", "lines",
    "plan"}]}], "lock": {"run", "by", "reason", "at"} or null, "notes"}.
    """
    from deploykit.engine import api
    from deploykit.report.plan import plan_lines
    from deploykit.report.style import Paint

    with answering(as_json) as answer:
        found = chosen.environment(ctx, environment)
        with told(*_tellers(ctx, log_format)) as listeners:
            result = api.plan(found, build=not no_build, listeners=listeners)
        if as_json:
            answer.give(plan_document(result))
        else:
            say(*plan_lines(result, Paint(sys.stdout)))


def _tellers(ctx: typer.Context, log_format: LogFormat | None) -> tuple[Teller, ...]:
    """Return who listens: of what a plan does, only its builds print anything worth reading."""
    if wants_json(ctx, log_format):
        return only_json(ctx, log_format)
    return (Only(teller(ctx, log_format, sys.stderr), {"local_output"}),)


def plan_document(result: "PlanResult") -> dict[str, Any]:
    """Return *result* for programs."""
    from dataclasses import asdict

    from deploykit import codec

    return {
        "environment": result.environment,
        "release": result.release,
        "content": result.content,
        "stages": [
            {
                "name": stage.name,
                "hosts": [
                    {
                        "host": host,
                        "lines": list(stage.lines.get(host, ())),
                        "plan": codec.encode(made),
                    }
                    for host, made in stage.plans.items()
                ],
            }
            for stage in result.stages
        ],
        "lock": asdict(result.lock) if result.lock else None,
        "notes": list(result.notes),
    }
