"""`deploykit run`: carry out the pipeline."""

from typing import Annotated

import typer

from deploykit.cli.act import act
from deploykit.cli.options import EnvironmentName, Json, LogFormatOption, Without

EXAMPLE = "deploykit run production"


def run(
    ctx: typer.Context,
    environment: EnvironmentName,
    again: Annotated[
        bool, typer.Option("--again", help="Release even what was rejected, or is older.")
    ] = False,
    without: Without = None,
    lock_wait: Annotated[
        float,
        typer.Option(
            "--lock-wait", metavar="SECONDS", min=0, help="Wait that long for another run to end."
        ),
    ] = 0.0,
    as_json: Json = False,
    log_format: LogFormatOption = None,
) -> None:
    """
    Carry out the pipeline; if anything fails, undo it.

    --json: {"environment", "run", "release", "state", "ok", "exit_code", "seconds", "warnings",
    "table": [{"host", "kind", "name", "wanted", "is", "ok", "proven"}],
    "error": {"kind", "what", "state", "then", "exit_code"} or null, "file"}.

    Exit codes: 0 done; 1 failed and rolled back; 2 nothing touched; 3 failed and NOT fully rolled
    back; 4 locked; 5 refused; 130 interrupted and rolled back.
    """
    from deploykit.engine import api

    act(
        ctx,
        environment,
        as_json=as_json,
        log_format=log_format,
        deed=lambda chosen, listeners: api.run(
            chosen,
            again=again,
            without=tuple(without or ()),
            lock_wait=lock_wait,
            listeners=listeners,
        ),
    )
