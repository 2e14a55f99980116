"""`deploykit resume`: finish a run whose controller is gone."""

import typer

from deploykit.cli.act import act
from deploykit.cli.ask import asked_first
from deploykit.cli.options import EnvironmentName, Json, LogFormatOption, Takeover, Without

EXAMPLE = "deploykit resume production"


def resume(
    ctx: typer.Context,
    environment: EnvironmentName,
    without: Without = None,
    takeover: Takeover = False,
    as_json: Json = False,
    log_format: LogFormatOption = None,
) -> None:
    """
    Finish a run that was cut short, in the direction it had.

    --json: as for run; with nothing to resume {"environment", "run": null, "exit_code": 0}.

    Exit codes: as for run; 0 if there was nothing to resume, 1 if it finished a rollback.
    """
    from deploykit.engine import api

    act(
        ctx,
        environment,
        as_json=as_json,
        log_format=log_format,
        deed=lambda chosen, listeners: asked_first(
            takeover,
            lambda sure: api.resume(
                chosen, takeover=sure, without=tuple(without or ()), listeners=listeners
            ),
        ),
    )
