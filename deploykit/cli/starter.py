"""Writes the first `deploy.py` of a project, as text that a person goes on with."""

import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from deploykit.cli.project import Project
from deploykit.errors import ConfigurationError

__all__ = ["PLACEHOLDER", "Address", "deploy_py"]

PLACEHOLDER = "shop.example"
WIDTH = 100
ADDRESS = re.compile(
    r"(?:(?P<user>[^@\s:]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@\s:]+)(?::(?P<port>\d+))?"
)


@dataclass(frozen=True)
class Address:
    """Where the application is to live: what stands in `ssh -p PORT USER@HOST`."""

    host: str
    user: str = "deploy"
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """
        Read `[user@]host[:port]`.

        Raises:
            ConfigurationError: it is something else.
        """
        found = ADDRESS.fullmatch(text.strip())
        if found is None or found["host"].startswith("-"):
            raise ConfigurationError(f"{text!r} is no host; write it like deploy@shop.example")
        host = found["host"].strip("[]")
        port = int(found["port"]) if found["port"] else None
        return cls(host, found["user"] or "deploy", port)

    @property
    def url(self) -> str:
        """Return what people type into a browser; empty for a name that only ssh knows."""
        try:
            ip = ipaddress.ip_address(self.host)
        except ValueError:
            return f"https://{self.host}" if "." in self.host else ""
        return f"http://[{ip}]" if ip.version == 6 else f"http://{ip}"  # IPv6


def deploy_py(project: Project, address: Address | None) -> str:
    """Return the text of `deploy.py`; without an *address* it holds a placeholder."""
    where = address or Address(PLACEHOLDER)
    stages = list(_stages(project, where))
    lines = [
        f'"""Deploy {project.name}: deploykit run production."""',
        "",
        f"from deploykit import {', '.join(_names(project))}",
        *([f"from deploykit.databases import {project.database}"] if project.database else []),
        *_import(stages),
        "",
        *([_database(project), ""] if project.database else []),
        "pipeline = Pipeline(",
        f"    app={_text(project.name)},",
        f"    root={_text(f'/srv/{project.name}')},",
        *(['    env_file="shared/.env",'] if _has_env(project) else []),
        "    stages=[",
        *(f"        {stage}" for stage in stages),
        "    ],",
        ")",
        "",
        *([] if address else ["# Put your own host's name or address here."]),
        f"production = Environment(pipeline, hosts=[{_host(where)}])",
    ]
    return "\n".join(lines) + "\n"


def _names(project: Project) -> list[str]:
    on_host = project.database and project.database != "SQLite"
    return ["Environment", "Host", "Pipeline", *(["Secret"] if on_host else [])]


def _import(stages: list[str]) -> list[str]:
    """Return the import of those stages that are used."""
    found = {match[1] for stage in stages if (match := re.match(r"([A-Z]\w+)\(", stage))}
    line = f"from deploykit.stages import {', '.join(sorted(found))}"
    if len(line) <= WIDTH:
        return [line]
    return ["from deploykit.stages import (", *(f"    {name}," for name in sorted(found)), ")"]


def _database(project: Project) -> str:
    if project.database == "SQLite":
        return f"database = SQLite({_text(f'shared/{_file(project)}')})"
    return (
        f'database = {project.database}(Secret.on_host("shared/.env", {_text(project.variable)}))'
    )


def _file(project: Project) -> str:
    return project.file or f"{project.name}.sqlite3"


def _stages(project: Project, where: Address) -> Iterator[str]:
    services = ", ".join(map(_text, _services(project)))
    yield _transfer(project)
    if project.install:
        yield f"Install({_text(project.install)}),"
    migrates = bool(project.database and (project.alembic or project.framework == "Django"))
    pauses = migrates and services
    if pauses:
        yield "# Old code never meets the new schema, nor new code the old one."
        yield f"Pause({services}),"
    if project.database:
        yield "Backup(database, keep=7),"
    if project.alembic and project.database:
        yield f'Migrate({_text(project.alembic)}, database, on_rollback="downgrade"),'
    elif project.framework == "Django":
        yield "# Nothing undoes this; if it fails, restore the backup by hand."
        yield 'Shell("migrate", do="python manage.py migrate --noinput"),'
        yield 'Shell("static", do="python manage.py collectstatic --noinput"),'
    yield f"Restart({services})," if services else "Publish(),"
    if where.url:
        yield f"SmokeTest({_text(where.url + (project.health or '/'))}, within=30),"
    yield "Prune(keep=5),"


def _services(project: Project) -> tuple[str, ...]:
    if project.services:
        return project.services
    return (f"{project.name}.service",) if project.serves else ()


def _transfer(project: Project) -> str:
    shared = [*([".env"] if _has_env(project) else []), *project.uploads]
    words = ['"."']
    if project.uploads:
        words.append(f"exclude={_list(project.uploads)}")
    if shared:
        words.append(f"shared={_list(shared)}")
    return f"Transfer({', '.join(words)}),"


def _has_env(project: Project) -> bool:
    return project.env or bool(project.database and project.database != "SQLite")


def _host(where: Address) -> str:
    port = f", port={where.port}" if where.port and where.port != 22 else ""  # ssh
    return f"Host({_text(where.host)}, user={_text(where.user)}{port})"


def _list(words: tuple[str, ...] | list[str]) -> str:
    return f"[{', '.join(map(_text, words))}]"


def _text(text: str) -> str:
    """Return *text* as Python writes a string, with double quotes."""
    return json.dumps(text, ensure_ascii=False)
