"""`deploykit init`: write a `deploy.py` that fits the project."""

from pathlib import Path
from typing import Annotated

import typer

from deploykit.cli.answer import say
from deploykit.cli.ask import may_ask, typed
from deploykit.cli.chosen import common
from deploykit.errors import ConfigurationError

EXAMPLE = "deploykit init --host deploy@shop.example"
DESCRIBED = (
    ("framework", "application"),
    ("application", "entry"),
    ("install", "install"),
    ("database", "database"),
    ("alembic", "migrations"),
    ("services", "services"),
    ("uploads", "uploads"),
    ("health", "health page"),
)


def init(
    ctx: typer.Context,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="[USER@]HOST[:PORT]", help="Where to deploy to.", show_default=False
        ),
    ] = None,
) -> None:
    """
    Look at this project, and write a deploy.py for it.

    Nothing is overwritten, and nothing of the project is run.
    """
    from deploykit import loader
    from deploykit.cli.project import look_at
    from deploykit.cli.starter import Address, deploy_py
    from deploykit.environment import project_root

    file = common(ctx).file or Path("deploy.py")
    _nothing_there(file)
    project = look_at(project_root(file))
    for field, word in DESCRIBED:
        found = getattr(project, field)
        if found:
            say(f"{word:<12} {found if isinstance(found, str) else ', '.join(found)}")
    address = _address(host)
    _write(file, deploy_py(project, Address.parse(address) if address else None))
    loader.load(file)
    name = Address.parse(address).host if address else "HOST"
    say(f"wrote {file}; read it, it is yours")
    if not address:
        say("  put your host's name in it (or give it now: --host)")
    say(f"  next: deploykit trust {name}, deploykit check production, deploykit run production")


def _nothing_there(file: Path) -> None:
    from deploykit.loader import PLACES

    for place in dict.fromkeys((file, *map(Path, PLACES if file == Path("deploy.py") else ()))):
        if place.exists() or place.is_symlink():
            raise ConfigurationError(
                f"{place} is there already, and is not overwritten",
                then="check it: deploykit check ENV",
            )


def _address(host: str | None) -> str:
    if host is not None or not may_ask():
        return host or ""
    return typed("the host to deploy to, as [user@]host[:port] (empty: later): ", otherwise="")


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
