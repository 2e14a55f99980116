"""`deploykit check`: the doctor."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from deploykit.cli import chosen
from deploykit.cli.answer import answering, say
from deploykit.cli.options import EnvironmentName, Json, LogFormatOption
from deploykit.cli.telling import only_json, told

if TYPE_CHECKING:
    from deploykit.findings import Finding
    from deploykit.report.style import Paint
    from deploykit.report.words import Tone

EXAMPLE = "deploykit check production"


def check(
    ctx: typer.Context,
    environment: EnvironmentName,
    as_json: Json = False,
    log_format: LogFormatOption = None,
) -> None:
    """
    Look at all that a run needs, and say how to mend it.

    This machine, each host (its key, rights, room, tools), each stage (rules of sudo, shared files,
    databases, heads of migrations), and whether another environment uses the same database.
    Nothing is changed.

    --json: {"environment", "ok", "findings": [{"severity": "ok" | "warning" | "problem", "host",
    "what", "mend"}]}.

    Exit codes: 0 no problem; 1 at least one.
    """
    from dataclasses import asdict

    from deploykit.doctor import examine
    from deploykit.report.style import Paint

    paint = Paint(sys.stdout)
    findings: list[Finding] = []
    with answering(as_json) as answer:
        everything = chosen.environments(ctx)
        found = chosen.picked(everything, environment)
        with told(*only_json(ctx, log_format)) as listeners:
            for finding in examine(found, everything, listeners):
                findings.append(finding)
                if not as_json:
                    say(*_lines(finding, paint))
        problems = sum(finding.severity == "problem" for finding in findings)
        answer.give(
            {
                "environment": found.name,
                "ok": not problems,
                "findings": [asdict(finding) for finding in findings],
            }
        )
        if not as_json:
            say("", _verdict(found.name, problems, paint))
    raise typer.Exit(1 if problems else 0)


def _lines(finding: "Finding", paint: "Paint") -> Iterator[str]:
    word = {"ok": "ok", "warning": "warning", "problem": "PROBLEM"}[finding.severity]
    tones: dict[str, Tone] = {"ok": "good", "warning": "warning", "problem": "bad"}
    first, *more = finding.what.splitlines() or [""]
    place = f"{finding.host}: " if finding.host else ""
    yield f"{paint(word.ljust(8), tones[finding.severity])} {place}{first}"
    yield from (f"         {line}" for line in more)
    if finding.mend:
        yield f"         -> {finding.mend}"


def _verdict(environment: str, problems: int, paint: "Paint") -> str:
    if not problems:
        return paint(f"{environment}: nothing stands in the way of a run", "good")
    count = "one problem" if problems == 1 else f"{problems} problems"
    return paint(f"{environment}: {count}", "bad")
