"""`deploykit backup`: verified copies of the databases, beside the application."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from deploykit.cli import chosen
from deploykit.cli.act import act
from deploykit.cli.answer import answering, say
from deploykit.cli.options import EnvironmentName, Json, LogFormatOption
from deploykit.errors import ConfigurationError

if TYPE_CHECKING:
    from deploykit.engine.events import Listener
    from deploykit.engine.outcome import RunResult
    from deploykit.environment import Environment
    from deploykit.report.tables import Row

EXAMPLES = {
    "create": "deploykit backup create production",
    "list": "deploykit backup list production",
}


def create(
    ctx: typer.Context,
    environment: EnvironmentName,
    as_json: Json = False,
    log_format: LogFormatOption = None,
) -> None:
    """
    Make the backups that the pipeline makes, now, as a run of their own.

    --json: as for run.
    """
    act(ctx, environment, as_json=as_json, log_format=log_format, deed=_create)


def list_(ctx: typer.Context, environment: EnvironmentName, as_json: Json = False) -> None:
    """
    List the backups on the hosts, newest first.

    --json: [{"host", "id", "engine", "database", "server", "port", "tool", "run", "path", "size",
    "sha256", "at"}].
    """
    from deploykit.engine import api
    from deploykit.report.style import Paint, terminal_width
    from deploykit.report.tables import columns
    from deploykit.report.units import size

    with answering(as_json) as answer:
        found = chosen.environment(ctx, environment)
        with api.connected(found) as fleet:
            by_host = fleet.each(_on_host)
        backups = [backup for listed in by_host.values() for backup in listed]
        backups.sort(key=lambda backup: (str(backup["at"]), str(backup["id"])), reverse=True)
        answer.give(backups)
        if as_json:
            return
        if not backups:
            say(f"{found.name}: no backup yet; next: deploykit backup create {found.name}")
            return
        head = ("made", "host", "database", "size", "file")
        rows: list[Row] = [
            ((b["at"], b["host"], b["database"], size(b["size"]), b["path"]), "plain")
            for b in backups
        ]
        say(*columns(head, rows, Paint(sys.stdout), terminal_width(sys.stdout)))


def only_backups(environment: "Environment") -> "Environment":
    """
    Return *environment* with those stages alone that make a backup.

    Raises:
        ConfigurationError: it has none.
    """
    stages = [s for s in environment.pipeline.stages if getattr(s, "backs_up", None) is not None]
    if not stages:
        raise ConfigurationError(
            f"no stage of {environment.name} makes a backup",
            state="nothing was touched",
            then="add one before Migrate: Backup(database, keep=5)",
        )
    return replace(environment, pipeline=replace(environment.pipeline, stages=stages))


def _create(environment: "Environment", listeners: tuple["Listener", ...]) -> "RunResult":
    from deploykit.engine import api

    return api.run(only_backups(environment), action="backup", listeners=listeners)


def _on_host(session: Any) -> list[dict[str, Any]]:
    from dataclasses import asdict
    from posixpath import join

    from deploykit.databases.backups import shelf

    layout = session.layout
    return [
        {
            "host": session.name,
            **{key: value for key, value in asdict(record).items() if key != "file"},
            "path": join(layout.backups, record.file),
        }
        for record in shelf(session, layout).records
    ]
