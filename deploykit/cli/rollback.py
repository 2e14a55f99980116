"""`deploykit rollback`: undo what was deployed."""

from typing import Annotated

import typer

from deploykit.cli.act import act
from deploykit.cli.ask import asked_first
from deploykit.cli.options import EnvironmentName, Json, LogFormatOption, Takeover, Without

EXAMPLE = "deploykit rollback production"


def rollback(
    ctx: typer.Context,
    environment: EnvironmentName,
    release: Annotated[
        str | None,
        typer.Argument(
            metavar="[RELEASE]", help="Undo all runs down to this one.", show_default=False
        ),
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on although data is lost, as plan says.")
    ] = False,
    without: Without = None,
    takeover: Takeover = False,
    as_json: Json = False,
    log_format: LogFormatOption = None,
) -> None:
    """
    Undo the newest run, or all runs down to a release.

    Code, services and schema come back together. With RELEASE, each run is undone down to it,
    newest first. An unfinished run is rolled back first. Where the newest run has gone back
    already, RELEASE is needed. What was rolled back is not deployed again without --again.

    --json: as for run.

    Exit codes: as for run; 0 if it succeeded.
    """
    from deploykit.engine import api

    act(
        ctx,
        environment,
        as_json=as_json,
        log_format=log_format,
        deed=lambda chosen, listeners: asked_first(
            takeover,
            lambda sure: api.rollback(
                chosen,
                release,
                accept_loss=accept_loss,
                takeover=sure,
                without=tuple(without or ()),
                listeners=listeners,
            ),
        ),
    )
