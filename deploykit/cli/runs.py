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
    from deploykit.environment import Environment
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

    Where a host cannot be reached, what is shown is the copy that is kept on this machine.

    --json: [{"run", "action", "state", "release", "by", "at", "reason"}]; with RUN
    {"run", "records": [the journal's lines, each with its host]}.
    """
    from dataclasses import asdict

    from deploykit.engine import api

    with answering(as_json) as answer:
        found = chosen.environment(ctx, environment)
        listed, copied = _listed(found)
        if run is None:
            answer.give([asdict(summary) for summary in listed])
            if not as_json:
                say(*_list_lines(listed, found.name))
            return
        ident = _named(run, listed, found.name)
        records = api.history(found, ident, copied=copied)
        answer.give({"run": ident, "records": list(records)})
        if not as_json:
            say(*map(_record_line, records))


def _listed(environment: "Environment") -> "tuple[tuple[RunSummary, ...], bool]":
    """Return the runs, and whether that is from the copies, because a host cannot be reached."""
    from deploykit.engine import api
    from deploykit.engine.copies import folder_of
    from deploykit.errors import TransportError
    from deploykit.report.emit import emit

    try:
        return api.runs(environment), False
    except TransportError as error:
        copies = api.runs(environment, copied=True)
        if not copies:
            raise
        emit(
            sys.stderr,
            f"{error.what}\n  what follows is the copy in {folder_of(environment.name)},\n"
            "  which is as old as the last command typed here\n",
        )
        return copies, True


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
