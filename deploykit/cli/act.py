"""What `run`, `resume`, `rollback` and `backup create` have in common: a run, and how it ended."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from deploykit.cli import chosen
from deploykit.cli.answer import answering, say
from deploykit.cli.options import LogFormat
from deploykit.cli.telling import teller, told

if TYPE_CHECKING:
    from deploykit.engine.events import Listener
    from deploykit.engine.outcome import RunResult
    from deploykit.environment import Environment

__all__ = ["act", "run_document"]

Deed = Callable[["Environment", tuple["Listener", ...]], "RunResult | None"]


def act(
    ctx: typer.Context, name: str, *, as_json: bool, log_format: LogFormat | None, deed: Deed
) -> None:
    """
    Do *deed* in the environment called *name*, tell it, show its end, exit with its code.

    With JSON, standard output is for the document, and the telling goes to standard error.
    """
    from deploykit.report.runfile import RunFile, to_stderr

    with answering(as_json) as answer:
        environment = chosen.environment(ctx, name)
        file = RunFile(environment.name, to_stderr)
        with told(teller(ctx, log_format, sys.stdout), file) as listeners:
            result = deed(environment, listeners)
        if result is None:
            answer.give({"environment": environment.name, "run": None, "exit_code": 0})
            say(f"{environment.name}: there is nothing to resume")
            return
        answer.give(run_document(result, file.path))
        show(result, file.path)
    raise typer.Exit(result.exit_code)


def show(result: "RunResult", file: str) -> None:
    """Print how a run ended: the end table, one sentence, and what failed on standard error."""
    from deploykit.report.emit import emit
    from deploykit.report.end import end_lines
    from deploykit.report.failure import explain
    from deploykit.report.style import Paint, terminal_width

    say(*end_lines(result, Paint(sys.stdout), terminal_width(sys.stdout)))
    if file:
        say(Paint(sys.stdout)(f"every event is in {file}", "faint"))
    if result.error is not None:
        emit(sys.stderr, f"{Paint(sys.stderr)(explain(result.error), 'bad')}\n")


def run_document(result: "RunResult", file: str) -> dict[str, Any]:
    """Return *result* for programs; see `deploykit run --help`."""
    from deploykit.report.failure import failure

    return {
        "environment": result.environment,
        "run": result.run,
        "release": result.release,
        "state": result.state,
        "ok": result.ok,
        "exit_code": result.exit_code,
        "seconds": round(result.seconds, 3),
        "warnings": list(result.warnings),
        "table": [
            {
                "host": host,
                "kind": measure.kind,
                "name": measure.name,
                "wanted": measure.wanted,
                "is": measure.is_,
                "ok": measure.ok,
                "proven": measure.proven,
            }
            for host, measures in result.table.items()
            for measure in measures
        ],
        "error": failure(result.error, result.exit_code),
        "file": file,
    }
