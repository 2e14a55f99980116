"""`deploykit shared`: the files under `shared/` on the hosts, which outlive releases."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from deploykit.cli import chosen
from deploykit.cli.answer import answering, say
from deploykit.cli.options import EnvironmentName, Json
from deploykit.errors import ConfigurationError

EXAMPLES = {
    "put": "deploykit shared put production production.env .env",
    "get": "deploykit shared get production .env production.env",
    "list": "deploykit shared list production",
}


def put(
    ctx: typer.Context,
    environment: EnvironmentName,
    local: Annotated[Path, typer.Argument(metavar="LOCAL", help="A file on this machine.")],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Its path under shared/; LOCAL's own name by default."
        ),
    ] = None,
) -> None:
    """
    Bring a file to shared/NAME on every host of the environment.

    It is verified before it takes its name, readable by the group of shared/ where that folder has
    one of its own (setgid), by its owner alone otherwise. What it replaces is kept under
    .deploykit/shared-versions/ on the host.
    """
    from deploykit.cli.sharing import checked_name, send
    from deploykit.engine import api

    found = chosen.environment(ctx, environment)
    try:
        content = local.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{local} cannot be read: {error.strerror}") from error
    target = checked_name(name or local.name)
    with api.connected(found) as fleet:
        for host, outcome in send(fleet, content, target).items():
            say(f"{host}: shared/{target} {outcome}")


def get(
    ctx: typer.Context,
    environment: EnvironmentName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its path under shared/.")],
    local: Annotated[
        Path | None,
        typer.Argument(
            metavar="[LOCAL]", help="Where to; standard output by default.", show_default=False
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="HOST", help="From this one; the first by default."),
    ] = None,
) -> None:
    """Fetch shared/NAME; a file that is written here can be read by you alone."""
    from deploykit.cli.sharing import checked_name, fetch, write_private
    from deploykit.engine import api

    found = chosen.environment(ctx, environment)
    label = host or found.hosts[0].label
    if label not in {known.label for known in found.hosts}:
        raise ConfigurationError(f"{found.name} has no host {label!r}")
    with api.connected(found) as fleet:
        content = fetch(fleet.sessions[label], checked_name(name), found.name)
    if local is None:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        write_private(local, content)
        say(f"{local}: {len(content)} bytes from {label}")


def list_(ctx: typer.Context, environment: EnvironmentName, as_json: Json = False) -> None:
    """
    List what is under shared/ on each host.

    --json: [{"host", "path", "kind": "file" | "dir" | "link" | "other", "size", "mode", "owner",
    "group", "modified"}].
    """
    from dataclasses import asdict

    from deploykit.cli.sharing import listed
    from deploykit.engine import api

    with answering(as_json) as answer:
        found = chosen.environment(ctx, environment)
        with api.connected(found) as fleet:
            files = [file for session in fleet.sessions.values() for file in listed(session)]
        answer.give([asdict(file) for file in files])
        if not as_json:
            from deploykit.report.style import Paint, terminal_width
            from deploykit.report.tables import Row, columns
            from deploykit.report.units import size

            head = ("host", "path", "size", "mode", "owner", "modified")
            rows: list[Row] = [
                (
                    (
                        f.host,
                        f"{f.path}/" if f.kind == "dir" else f.path,
                        "" if f.kind == "dir" else size(f.size),
                        f.mode,
                        f"{f.owner}:{f.group}",
                        f.modified,
                    ),
                    "plain",
                )
                for f in files
            ]
            if rows:
                say(*columns(head, rows, Paint(sys.stdout), terminal_width(sys.stdout)))
            else:
                say(f"{found.name}: nothing is shared yet")
