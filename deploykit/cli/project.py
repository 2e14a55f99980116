"""Looks at a project on this machine: what it is, how it is installed, what serves it."""

import ast
import configparser
import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values

__all__ = ["Engine", "Project", "look_at"]

Engine = Literal["Postgres", "MariaDB", "SQLite", ""]
SKIPPED = frozenset(
    {"node_modules", "venv", "env", "tests", "test", "docs", "build", "dist", "site-packages"}
)
MOST_FILES = 400  # Python files that are read; an application's entry is not deeper down
LARGEST = 200_000  # bytes of a Python file that is read
DEPTH = 4
FRAMEWORKS = frozenset({"FastAPI", "Flask", "Litestar", "Starlette"})
HEALTH = re.compile(r"/(?:[\w-]+/)*(?:healthz?|healthcheck|livez|readyz|ping|status/health)/?")
URL_NAMES = ("DATABASE_URL", "DATABASE_URI")
UPLOADS = ("media", "uploads")


@dataclass(frozen=True)
class Project:
    """
    What a look at a project found; empty where there is nothing of the kind.

    Args:
        name: fit for `Pipeline(app=)`.
        framework: Django, FastAPI, Flask, …
        application: its entry, as a server takes it: `shop.main:app`.
        install: the command that installs it in a release.
        alembic: path of its `alembic.ini`.
        database: the engine of its database.
        variable: the variable that holds the database's URL.
        file: path of the database, for SQLite.
        env: it reads a `.env` file.
        services: systemd units, those it brings or those that its `Procfile` asks for.
        uploads: folders that hold what its users bring.
        health: the path of a page that says whether it is well.
    """

    name: str
    framework: str = ""
    application: str = ""
    install: str = ""
    alembic: str = ""
    database: Engine = ""
    variable: str = "DATABASE_URL"
    file: str = ""
    env: bool = False
    services: tuple[str, ...] = ()
    uploads: tuple[str, ...] = ()
    health: str = ""

    @property
    def serves(self) -> bool:
        """Return whether something has to be restarted for a release to be seen."""
        return bool(self.services or self.framework)


def look_at(folder: Path) -> Project:
    """Look at the project in *folder*; nothing of it is run or imported."""
    pyproject = _toml(folder / "pyproject.toml")
    name = _name(pyproject, folder)
    entry = _Entry()
    for path in _python_files(folder):
        entry.read(path, folder)
    framework = "Django" if (folder / "manage.py").is_file() else entry.framework
    variables = _variables(folder)
    url = next((name for name in variables if name.endswith(URL_NAMES)), "")
    alembic = next((str(p.relative_to(folder)) for p in _found(folder, "alembic.ini")), "")
    urls = [variables.get(url) or "", _alembic_url(folder, alembic)]
    engine = _engine(urls, _dependencies(folder, pyproject))
    return Project(
        name=name,
        framework=framework,
        application=entry.django if framework == "Django" else entry.application,
        install=_install(folder, pyproject),
        alembic=alembic,
        database=engine if alembic or url or framework == "Django" else "",
        variable=url or "DATABASE_URL",
        file=next((_sqlite_file(text) for text in urls if text.startswith("sqlite")), ""),
        env=bool(variables) or (folder / ".env").is_file(),
        services=_services(folder, name),
        uploads=tuple(f"{upload}/" for upload in UPLOADS if (folder / upload).is_dir()),
        health=entry.health,
    )


class _Entry:
    """Collects what the Python files say: the application object, Django's entry, a health page."""

    def __init__(self) -> None:
        self.framework = self.application = self.django = self.health = ""

    def read(self, path: Path, folder: Path) -> None:
        """Read one file; one that is no Python of this version says nothing."""
        relative = path.relative_to(folder)
        module = ".".join(relative.with_suffix("").parts).removeprefix("src.")
        if path.name in ("wsgi.py", "asgi.py") and (not self.django or path.name == "wsgi.py"):
            self.django = f"{module}:application"
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            return
        if not self.application:
            self._application(tree, module.removesuffix(".__init__"))
        if not self.health:
            self.health = next(_health_pages(tree), "")

    def _application(self, tree: ast.Module, module: str) -> None:
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                kind = _called(node.value)
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if kind in FRAMEWORKS and isinstance(target, ast.Name):
                    self.framework, self.application = kind, f"{module}:{target.id}"
                    return
            if isinstance(node, ast.FunctionDef) and node.name in ("create_app", "make_app"):
                made = next((k for n in ast.walk(node) if (k := _called(n)) in FRAMEWORKS), "")
                if made:
                    self.framework = made
                    self.application = f"{module}:{node.name}()"
                    return


def _called(node: ast.AST | None) -> str:
    """Return the name of the class that *node* calls: `FastAPI` for `fastapi.FastAPI(…)`."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _health_pages(tree: ast.Module) -> Iterator[str]:
    """Yield the paths of routes, in decorators and calls, that look like a health page."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for argument in node.args[:1]:
                text = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(text, str) and HEALTH.fullmatch(f"/{text.lstrip('/')}"):
                    yield f"/{text.lstrip('/')}"


def _python_files(folder: Path) -> Iterable[Path]:
    """Return the project's own Python files, those nearest to its root first."""
    found = []
    for place, folders, files in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(
            name
            for name in folders
            if depth < DEPTH
            and name not in SKIPPED
            and not name.startswith((".", "__"))
            and not (Path(place) / name / "pyvenv.cfg").exists()
        )
        for name in files:
            path = Path(place) / name
            if name.endswith(".py") and path.is_file() and path.stat().st_size < LARGEST:
                found.append(path)
    found.sort(key=lambda path: (len(path.parts), path))
    return found[:MOST_FILES]


def _found(folder: Path, name: str) -> list[Path]:
    """Return the files called *name* in *folder* and the folders in it."""
    here = [folder / name] if (folder / name).is_file() else []
    below = [p for p in sorted(folder.glob(f"*/{name}")) if p.parent.name not in SKIPPED]
    return here + below


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _name(pyproject: dict[str, Any], folder: Path) -> str:
    poetry = pyproject.get("tool", {}).get("poetry", {})
    name = pyproject.get("project", {}).get("name") or poetry.get("name") or folder.resolve().name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", str(name)).strip("-_.").lower() or "app"


def _install(folder: Path, pyproject: dict[str, Any]) -> str:
    venv = "python3 -m venv .venv && .venv/bin/pip install"
    if (folder / "uv.lock").is_file():
        return "uv sync --frozen --no-dev"
    if (folder / "poetry.lock").is_file():
        return "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --only main"
    if (folder / "requirements.txt").is_file():
        return f"{venv} -r requirements.txt"
    return f"{venv} ." if "project" in pyproject or "build-system" in pyproject else ""


def _dependencies(folder: Path, pyproject: dict[str, Any]) -> str:
    """Return everything that names a dependency, as one text to search in."""
    poetry = pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {})
    texts = [*map(str, pyproject.get("project", {}).get("dependencies", [])), *poetry]
    requirements = folder / "requirements.txt"
    if requirements.is_file():
        texts.append(requirements.read_text(encoding="utf-8", errors="replace"))
    return "\n".join(texts).lower()


def _variables(folder: Path) -> dict[str, str | None]:
    """Return the variables of the project's example of a `.env` file, and of `.env` itself."""
    found: dict[str, str | None] = {}
    for name in (".env.example", "env.example", ".env.sample", ".env"):
        path = folder / name
        if path.is_file():
            found |= dotenv_values(path, interpolate=False)
    return found


def _alembic_url(folder: Path, ini: str) -> str:
    parser = configparser.RawConfigParser()
    try:
        parser.read(folder / ini if ini else [], encoding="utf-8")
        return parser.get("alembic", "sqlalchemy.url", fallback="")
    except (configparser.Error, UnicodeDecodeError):
        return ""


def _engine(urls: Iterable[str], dependencies: str) -> Engine:
    schemes = " ".join(url.partition(":")[0] for url in urls)
    signs: tuple[tuple[Engine, str], ...] = (
        ("Postgres", "postgres"),
        ("MariaDB", "mysql|mariadb"),
        ("SQLite", "sqlite"),
    )
    for engine, sign in signs:
        if re.search(sign, schemes):
            return engine
    if re.search(r"mysql|mariadb", dependencies):
        return "MariaDB"
    return "SQLite" if "aiosqlite" in dependencies else "Postgres"


def _sqlite_file(url: str) -> str:
    path = url.partition("///")[2].partition("?")[0]
    return "" if path in ("", ":memory:") else Path(path).name


def _services(folder: Path, name: str) -> tuple[str, ...]:
    """Return the units that the project brings; else one for each line of its `Procfile`."""
    units = [p.name for p in sorted(folder.rglob("*.service")) if _ours(p, folder)]
    if units:
        return tuple(dict.fromkeys(units))
    try:
        lines = (folder / "Procfile").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ()
    kinds = [found[1] for line in lines if (found := re.match(r"([A-Za-z0-9_-]+)\s*:", line))]
    units = [f"{name}.service" if k == "web" else f"{name}-{k}.service" for k in kinds]
    return tuple(unit for kind, unit in zip(kinds, units, strict=True) if kind != "release")


def _ours(path: Path, folder: Path) -> bool:
    """Return whether *path* is a unit of the project, not a template and none of a package's."""
    parts = path.relative_to(folder).parts
    inside = not any(part in SKIPPED or part.startswith(".") for part in parts[:-1])
    return inside and "@" not in path.name and len(parts) <= DEPTH
