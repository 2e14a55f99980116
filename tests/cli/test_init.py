"""`deploykit init`: what it writes for several projects, and that all of it can be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploykit import loader
from deploykit.cli.project import look_at
from deploykit.cli.starter import Address, deploy_py
from deploykit.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Program

FASTAPI = {
    "pyproject.toml": '[project]\nname = "Shop Floor"\ndependencies = ["fastapi", "asyncpg"]\n',
    "uv.lock": "",
    "alembic.ini": "[alembic]\nscript_location = migrations\n",
    "src/shop/main.py": (
        "import fastapi\napp: object = fastapi.FastAPI()\n"
        "\n\n@app.get('/healthz')\ndef well(): ...\n"
    ),
    ".env.example": "SHOP_DATABASE_URL=postgresql+asyncpg://x\nPORT=1\n",
    "deploy/shop.service": "[Service]\n",
    "deploy/shop-worker.service": "[Service]\n",
    "deploy/shop@.service": "[Service]\n",
}
FLASK = {
    "requirements.txt": "Flask\nPyMySQL\n",
    "wsgi.py": "from flask import Flask\n\n\ndef create_app():\n    return Flask(__name__)\n",
    "db/alembic.ini": "[alembic]\nsqlalchemy.url = mysql+pymysql://u:p@localhost/x\n",
    "Procfile": "web: gunicorn 'wsgi:create_app()'\nworker: rq worker\nrelease: true\n",
    "uploads/a.png": "",
}
DJANGO = {
    "manage.py": "",
    "poetry.lock": "",
    "pyproject.toml": (
        '[tool.poetry]\nname = "blog"\n[tool.poetry.dependencies]\nmysqlclient = "*"\n'
    ),
    "blog/settings.py": "",
    "blog/wsgi.py": "application = None\n",
    "blog/broken.py": "def (:\n",
    "media/x": "",
}
SQLITE = {
    "main.py": "from starlette.applications import Starlette\napp = Starlette()\n",
    "alembic.ini": "[alembic]\nsqlalchemy.url = sqlite:///./data/app.db\n",
}
SITE = {"index.html": "hello"}
QUOTED = {"pyproject.toml": "[project]\nname = 'it\"s \\\\ odd'\n", "main.py": "x = 1\n"}
SHAPES = {
    "fastapi": FASTAPI,
    "flask": FLASK,
    "django": DJANGO,
    "sqlite": SQLITE,
    "site": SITE,
    "quoted": QUOTED,
    "empty": {},
}


def grow(folder: Path, files: dict[str, str]) -> Path:
    """Write *files* below *folder*."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize("host", [None, "deploy@10.0.0.9:2222", "vps", "[2001:db8::1]"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_it_writes_can_be_loaded(
    deploykit: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: str,
    host: str | None,
) -> None:
    """For every shape of project, with or without a host, the file is short and can be loaded."""
    monkeypatch.chdir(grow(tmp_path, SHAPES[shape]))
    ended = deploykit("init", *(["--host", host] if host else []))
    assert ended.code == 0, ended.err
    text = (tmp_path / "deploy.py").read_text()
    assert 10 <= len(text.splitlines()) <= 32
    production = loader.load(tmp_path / "deploy.py")["production"]
    assert production.hosts[0].user == "deploy"
    assert max(map(len, text.splitlines())) <= 120


def test_fastapi_project(tmp_path: Path) -> None:
    """A FastAPI project with uv, Alembic and units of its own is understood in full."""
    found = look_at(grow(tmp_path, FASTAPI))
    assert found.name == "shop-floor"
    assert found.framework == "FastAPI"
    assert found.application == "shop.main:app"
    assert found.install == "uv sync --frozen --no-dev"
    assert (found.database, found.variable) == ("Postgres", "SHOP_DATABASE_URL")
    assert found.services == ("shop-worker.service", "shop.service")
    assert found.health == "/healthz"
    text = deploy_py(found, Address.parse("shop.example"))
    assert 'Postgres(Secret.on_host("shared/.env", "SHOP_DATABASE_URL"))' in text
    assert 'Migrate("alembic.ini", database, on_rollback="downgrade")' in text
    assert 'SmokeTest("https://shop.example/healthz", within=30)' in text


def test_flask_project(tmp_path: Path) -> None:
    """A Flask factory, MariaDB, a Procfile and uploads: units by process type, uploads shared."""
    found = look_at(grow(tmp_path, FLASK))
    assert (found.framework, found.application) == ("Flask", "wsgi:create_app()")
    assert (found.database, found.alembic) == ("MariaDB", "db/alembic.ini")
    assert found.services == (f"{found.name}.service", f"{found.name}-worker.service")
    assert 'exclude=["uploads/"], shared=[".env", "uploads/"]' in deploy_py(found, None)


def test_django_project(tmp_path: Path) -> None:
    """A Django project migrates by itself, and the file says that this is not undone."""
    found = look_at(grow(tmp_path, DJANGO))
    assert (found.name, found.framework) == ("blog", "Django")
    assert found.application == "blog.wsgi:application"
    assert found.database == "MariaDB"
    text = deploy_py(found, None)
    assert "manage.py migrate" in text
    assert "Nothing undoes this" in text


def test_sqlite_project(tmp_path: Path) -> None:
    """The file of a SQLite database is kept under shared/."""
    assert 'SQLite("shared/app.db")' in deploy_py(look_at(grow(tmp_path, SQLITE)), None)


def test_a_site_without_a_program(tmp_path: Path) -> None:
    """Where nothing has to be restarted, the link alone is published."""
    text = deploy_py(look_at(grow(tmp_path, SITE)), None)
    assert "Publish()," in text
    assert "Restart" not in text


@pytest.mark.parametrize("there", ["deploy.py", "pipelines/deploy.py"])
def test_nothing_is_overwritten(
    deploykit: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    """A file that is there stays as it is: exit code 2."""
    monkeypatch.chdir(grow(tmp_path, {there: "mine"}))
    ended = deploykit("init", "--host", "shop.example")
    assert ended.code == 2
    assert (tmp_path / there).read_text() == "mine"
    assert (tmp_path / "deploy.py").exists() is (there == "deploy.py")


def test_without_a_host_a_placeholder_stands(
    deploykit: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can be asked, a placeholder is written and the option is named."""
    monkeypatch.chdir(tmp_path)
    ended = deploykit("init")
    assert ended.code == 0
    assert "--host" in ended.out
    assert "# Put your own host's name" in (tmp_path / "deploy.py").read_text()


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "a b", "user@", "host:port"])
def test_what_is_no_host_is_refused(text: str) -> None:
    """A host that ssh could not take, or would take for an option, is refused."""
    with pytest.raises(ConfigurationError):
        Address.parse(text)
