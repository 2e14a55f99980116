"""`deploykit lock`: look at, take and free an environment's lock."""

import sys
from typing import Annotated

import typer

from deploykit.cli import chosen
from deploykit.cli.answer import answering, say
from deploykit.cli.options import EnvironmentName, Json

EXAMPLES = {
    "status": "deploykit lock status production",
    "acquire": 'deploykit lock acquire production -m "moving the database"',
    "release": "deploykit lock release production",
}


def status(ctx: typer.Context, environment: EnvironmentName, as_json: Json = False) -> None:
    """
    Say who holds the lock, since when and why.

    --json: {"environment", "locked", "owner": {"run", "by", "reason", "at"} or null}.
    """
    from dataclasses import asdict

    from deploykit.engine import api

    with answering(as_json) as answer:
        found = chosen.environment(ctx, environment)
        owner = api.lock_status(found)
        answer.give(
            {
                "environment": found.name,
                "locked": owner is not None,
                "owner": asdict(owner) if owner else None,
            }
        )
        if not as_json:
            held = f"locked by {owner.by} since {owner.at}: {owner.reason}" if owner else "free"
            say(f"{found.name}: {held}")


def acquire(
    ctx: typer.Context,
    environment: EnvironmentName,
    message: Annotated[
        str, typer.Option("--message", "-m", metavar="REASON", help="Why; others will read it.")
    ],
) -> None:
    """Take the lock by hand, so that nobody deploys until it is released."""
    from deploykit.engine import api

    found = chosen.environment(ctx, environment)
    api.lock_acquire(found, message)
    say(f"{found.name}: locked; when it is over: deploykit lock release {found.name}")


def release(
    ctx: typer.Context,
    environment: EnvironmentName,
    force: Annotated[
        bool,
        typer.Option("--force", help="Free even a run's lock; refused while a command runs."),
    ] = False,
) -> None:
    """
    Free a lock that was taken by hand.

    The lock of a run is freed by finishing it: deploykit resume, or deploykit rollback.
    """
    from deploykit.engine import api

    found = chosen.environment(ctx, environment)
    freed = api.lock_release(found, force=force)
    say(f"{found.name}: {'freed' if freed else 'it was free already'}")
    if freed and force and not freed.startswith("manual-"):
        sys.stderr.write(
            f"warning: run {freed} is neither finished nor undone\n"
            f"  look at what it left: deploykit status {found.name}\n"
        )
