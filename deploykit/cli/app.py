"""The program as a list: what stands before the verb, then every verb in the order of a life."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploykit._version import __version__
from deploykit.cli import (
    backup,
    check,
    demo,
    init,
    lock,
    logs,
    plan,
    releases,
    resume,
    rollback,
    run,
    runs,
    shared,
    status,
    trust,
)
from deploykit.cli.answer import say
from deploykit.cli.chosen import Common
from deploykit.cli.options import LogFormat

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app"]

VERBS: "tuple[tuple[Callable[..., Any], str], ...]" = (
    (init.init, init.EXAMPLE),
    (trust.trust, trust.EXAMPLE),
    (check.check, check.EXAMPLE),
    (plan.plan, plan.EXAMPLE),
    (run.run, run.EXAMPLE),
    (resume.resume, resume.EXAMPLE),
    (rollback.rollback, rollback.EXAMPLE),
    (status.status, status.EXAMPLE),
    (releases.releases, releases.EXAMPLE),
    (runs.runs, runs.EXAMPLE),
    (logs.logs, logs.EXAMPLE),
    (demo.demo, demo.EXAMPLE),
)
GROUPS: "tuple[tuple[str, str, tuple[Callable[..., Any], ...], dict[str, str]], ...]" = (
    (
        "lock",
        "Look at, take and free an environment's lock.",
        (lock.status, lock.acquire, lock.release),
        lock.EXAMPLES,
    ),
    (
        "shared",
        "Files that outlive releases: .env, uploads.",
        (shared.put, shared.get, shared.list_),
        shared.EXAMPLES,
    ),
    (
        "backup",
        "Verified copies of the databases.",
        (backup.create, backup.list_),
        backup.EXAMPLES,
    ),
)
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "no_args_is_help": True}


def assembled() -> typer.Typer:
    """Return the program: the options before the verb, the verbs, the groups of verbs."""
    program = typer.Typer(
        **PLAIN,
        help="Deploys you can undo, over SSH: declared in deploy.py, rolled back when they fail.",
        epilog=_example("deploykit init && deploykit check production && deploykit run production"),
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    program.callback()(before_the_verb)
    for verb, example in VERBS:
        program.command(epilog=_example(example))(verb)
    for name, purpose, verbs, examples in GROUPS:
        group = typer.Typer(**PLAIN, help=purpose, epilog=_example(next(iter(examples.values()))))
        for verb in verbs:
            word = verb.__name__.rstrip("_")
            group.command(word, epilog=_example(examples[word]))(verb)
        program.add_typer(group, name=name)
    return program


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"deploykit {__version__}")
        raise typer.Exit


def before_the_verb(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Default: deploy.py, else pipelines/deploy.py.",
            show_default=False,
        ),
    ] = None,
    log_format: Annotated[
        LogFormat,
        typer.Option("--log-format", help="json: events as JSON lines on standard error."),
    ] = LogFormat.HUMAN,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Keep what stands before the verb for the verb."""
    del version  # its callback has answered it
    ctx.obj = Common(file=file, log_format=log_format)


def _example(command: str) -> str:
    # The \b keeps the lines apart, which would be filled as one paragraph.
    return f"\b\nExample:\n  {command}"


app = assembled()
