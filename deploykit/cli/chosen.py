"""Finds what the command line named: `deploy.py`, and the environment in it."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from deploykit.cli.options import LogFormat

if TYPE_CHECKING:
    from deploykit.environment import Environment

__all__ = ["Common", "common", "environment", "environments", "picked"]


@dataclass(frozen=True)
class Common:
    """
    What stands before the verb.

    Args:
        file: given by `-f`.
        log_format: given by `--log-format`.
    """

    file: Path | None = None
    log_format: LogFormat = LogFormat.HUMAN


def common(ctx: typer.Context) -> Common:
    """Return what stood before the verb."""
    found = ctx.find_root().obj
    return found if isinstance(found, Common) else Common()


def environments(ctx: typer.Context) -> dict[str, "Environment"]:
    """
    Return all environments of `deploy.py`, by variable name.

    Raises:
        ConfigurationError: there is no such file, or it cannot be imported.
    """
    from deploykit import loader

    # What a deploy.py prints must not get between a JSON document and its reader.
    with redirect_stdout(sys.stderr):
        return loader.load(loader.find(common(ctx).file))


def environment(ctx: typer.Context, name: str) -> "Environment":
    """
    Return the environment called *name*.

    Raises:
        ConfigurationError: there is none, or no `deploy.py`.
    """
    return picked(environments(ctx), name)


def picked(found: dict[str, "Environment"], name: str) -> "Environment":
    """Return the one of *found* called *name*; see `deploykit.loader.pick`."""
    from deploykit import loader

    return loader.pick(found, name)
