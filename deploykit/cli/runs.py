"""`deploykit runs`: list the runs, or show one."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploykit.cli import chosen
from deploykit.cli.answer import answering, say
from deploykit.cli.options import EnvironmentName, Json
from deploykit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploykit.engine.outcome import RunSummary
    from deploykit.report.words import Tone

EXAMPLE = "deploykit runs production"


def runs(
    ctx: typer.Context,
    environment: EnvironmentName,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", help="Show this one; its last digits are enough.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """
    List the runs, newest first, or show the journal of one.

    --json: [{"run", "action", "state", "release", "by", "at", "reason"}]; with RUN
    {"run", "records": [the journal's lines, each with its host]}.
    """
    from dataclasses import asdict

    from deploykit.engine import api

    with answering(as_json) as answer:
        found = chosen.environment(ctx, environment)
        listed = api.runs(found)
        if run is None:
            answer.give([asdict(summary) for summary in listed])
            if not as_json:
                say(*_list_lines(listed, found.name))
            return
        ident = _named(run, listed, found.name)
        records = api.history(found, ident)
        answer.give({"run": ident, "records": list(records)})
        if not as_json:
            say(*map(_record_line, records))


def _named(text: str, listed: "Sequence[RunSummary]", environment: str) -> str:
    """Return the id of the one run that begins or ends with *text*."""
    ids = [summary.run for summary in listed]
    if text in ids:
        return text
    near = [ident for ident in ids if ident.startswith(text) or ident.endswith(text)]
    if len(near) == 1:
        return near[0]
    what = f"{len(near)} runs are called like {text!r}" if near else f"there is no run {text!r}"
    raise ConfigurationError(what, then=f"list them: deploykit runs {environment}")


def _list_lines(listed: "Sequence[RunSummary]", environment: str) -> list[str]:
    from deploykit.report.style import Paint, terminal_width
    from deploykit.report.tables import columns

    if not listed:
        return [f"{environment}: no run yet; next: deploykit run {environment}"]
    head = ("run", "action", "state", "release", "by", "began", "went back because")
    rows = [
        (
            (s.run, s.action, s.state, s.release, s.by, s.at, s.reason.partition("\n")[0]),
            _tone(s.state),
        )
        for s in listed
    ]
    return columns(head, rows, Paint(sys.stdout), terminal_width(sys.stdout))


def _tone(state: str) -> "Tone":
    if state in ("confirmed", "sealed"):
        return "good"
    return "warning" if state == "rolled_back" else "bad"


SHOWN = ("stage", "direction", "key", "attempt", "rc", "seconds", "reason", "state")


def _record_line(record: "Mapping[str, Any]") -> str:
    from deploykit.report.clean import visible

    known = " ".join(f"{key}={record[key]}" for key in SHOWN if record.get(key) not in (None, ""))
    at, host, kind = (str(record.get(key, "")) for key in ("at", "host", "kind"))
    return visible(f"{at}  {host:<12}  {kind:<11}  {known}".rstrip())
