"""The arguments and options that several verbs share."""

import sys
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["EnvironmentName", "Json", "LogFormat", "LogFormatOption", "Takeover"]


class LogFormat(StrEnum):
    """How events are told."""

    HUMAN = "human"
    JSON = "json"


def environment_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """
    Return the environments that begin with *incomplete*, for the shell.

    Imports `deploy.py` and nothing else; what that prints is kept from the shell, and one that
    cannot be imported completes to nothing.
    """
    from deploykit import loader
    from deploykit.errors import DeploykitError

    file = ctx.find_root().params.get("file")
    try:
        with redirect_stdout(sys.stderr):
            found = loader.load(loader.find(Path(file) if file else None))
    except DeploykitError:
        return []
    names = [environment.name for environment in found.values()]
    return [name for name in names if name.startswith(incomplete)]


EnvironmentName = Annotated[
    str,
    typer.Argument(
        metavar="ENV",
        help="An environment: a variable in deploy.py.",
        autocompletion=environment_names,
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")
]
LogFormatOption = Annotated[
    LogFormat | None,
    typer.Option(
        "--log-format", help="json: events as JSON lines on standard error.", show_default=False
    ),
]
Takeover = Annotated[
    bool,
    typer.Option(
        "--takeover", help="Take the run over although its controller seems alive, unasked."
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="HOST",
        help="Leave this host out; may be repeated.",
        show_default=False,
    ),
]
