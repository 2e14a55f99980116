"""`deploykit logs`: follow the application's journal."""

from typing import Annotated

import typer

from deploykit.cli import chosen
from deploykit.cli.options import EnvironmentName

EXAMPLE = "deploykit logs production --unit shop.service -n 200 --no-follow"


def logs(
    ctx: typer.Context,
    environment: EnvironmentName,
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", "-u", metavar="UNIT", help="This unit; may be repeated."),
    ] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many old lines.")] = 50,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Print what there is, and end.")
    ] = False,
) -> None:
    """
    Follow the journal of the application's services.

    Those that the pipeline restarts, on every host, until Ctrl-C.
    Needs a user who may read the journal (group systemd-journal or adm), or a sudo rule for
    journalctl. Of services that are no systemd units, the last lines are shown.
    """
    from deploykit.cli.following import follow, sources

    found = chosen.environment(ctx, environment)
    wanted = sources(found, tuple(unit or ()), lines=lines, following=not no_follow)
    raise typer.Exit(follow(found, wanted))
