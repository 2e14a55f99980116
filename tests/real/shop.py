"""A small shop in three releases: gunicorn behind nginx, Alembic, a real database."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.farm import Host

WHEELS = ("gunicorn", "alembic", "sqlalchemy", "psycopg2-binary", "pymysql")

UNIT = """
[Unit]
Description=The shop
[Service]
User=app
WorkingDirectory=/srv/shop/current
EnvironmentFile=/srv/shop/shared/.env
ExecStart=/srv/shop/current/.venv/bin/python -m gunicorn -w 2 -b 127.0.0.1:8000 app:application
[Install]
WantedBy=multi-user.target
"""

NGINX = """
server {
    listen 80;
    location / { proxy_pass http://127.0.0.1:8000; }
}
"""

SUDOERS = """
deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart shop.service
deploy ALL=(root) NOPASSWD: /usr/bin/systemctl start shop.service
deploy ALL=(root) NOPASSWD: /usr/bin/systemctl stop shop.service
deploy ALL=(root) NOPASSWD: /usr/bin/systemctl reset-failed shop.service
"""

INI = """
[alembic]
script_location = %(here)s/migrations
"""

# The shop itself is never imported by its migrations' env.py, and deploykit imports neither.
ENV = """
import os

import sqlalchemy
from alembic import context

engine = sqlalchemy.create_engine(os.environ["SQLALCHEMY_URL"])
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

REVISIONS = {
    "0001": '''
"""make the notes"""
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        "notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("body", sa.String(200), nullable=False),
    )


def downgrade():
    op.drop_table("notes")
''',
    "0002": '''
"""call the body text"""
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.alter_column(
        "notes", "body", new_column_name="text",
        existing_type=sa.String(200), existing_nullable=False,
    )


def downgrade():
    op.alter_column(
        "notes", "text", new_column_name="body",
        existing_type=sa.String(200), existing_nullable=False,
    )
''',
    "0003": '''
"""count the stars"""
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.add_column("notes", sa.Column("stars", sa.Integer, server_default="0", nullable=False))


def downgrade():
    op.drop_column("notes", "stars")
''',
}

APP = """
import json
import os

import sqlalchemy

engine = sqlalchemy.create_engine(os.environ["SQLALCHEMY_URL"], poolclass=sqlalchemy.NullPool)
COLUMN = {column!r}


def application(environ, start_response):
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    status, answer = "200 OK", {{"release": os.path.basename(os.getcwd())}}
    if path == "/notes" and method == "POST":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        with engine.begin() as connection:
            connection.execute(
                sqlalchemy.text(f"INSERT INTO notes ({{COLUMN}}) VALUES (:body)"), {{"body": body}}
            )
        answer = "kept"
    elif path == "/notes":
        with engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text(f"SELECT {{COLUMN}} FROM notes ORDER BY id"))
            answer = [row[0] for row in rows]
    elif path == "/page" and {broken}:
        status, answer = "500 Internal Server Error", "a typo"
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""

COLUMNS = {"v1": "body", "v2": "text", "v3": "text"}
HEADS = {"v1": "0001", "v2": "0002", "v3": "0003"}


def check_out(version: str, project: Path, wheels: Path) -> None:
    """Make *project* the shop's source at *version*, with the wheels it is installed from."""
    shutil.rmtree(project, ignore_errors=True)
    versions = project / "migrations" / "versions"
    versions.mkdir(parents=True)
    (project / "app.py").write_text(APP.format(column=COLUMNS[version], broken=version == "v3"))
    (project / "alembic.ini").write_text(INI)
    (project / "migrations" / "env.py").write_text(ENV)
    for revision, text in REVISIONS.items():
        if revision <= HEADS[version]:
            (versions / f"{revision}.py").write_text(text.lstrip())
    (project / "requirements.txt").write_text("\n".join(WHEELS))
    shutil.copytree(wheels, project / "wheels")


def prepare(host: Host, engine: str) -> str:
    """Give *host* the unit, nginx, the rights and an empty database; return its URL."""
    url = host.postgres() if engine == "postgres" else host.mariadb()
    host.root(
        "systemctl stop shop.service 2>/dev/null || :\nrm -rf /srv/shop\n"
        "install -d -o deploy -g deploy /srv/shop\n"
        "install -d -m 2770 -o deploy -g app /srv/shop/shared"
    )
    driver = {"postgres": "postgresql+psycopg2", "mariadb": "mysql+pymysql"}[engine]
    lines = f"DATABASE_URL={url}\nSQLALCHEMY_URL={driver}://{url.partition('://')[2]}\n"
    host.write("/srv/shop/shared/.env", lines, mode=0o640, owner="deploy:app")
    host.unit("shop.service", UNIT)
    host.root("systemctl enable shop.service")
    host.nginx(NGINX)
    host.sudoers(SUDOERS)
    return url


def get(host: Host, path: str) -> Any:
    """Return what the shop answers, through nginx."""
    with urllib.request.urlopen(f"http://{host.ip}{path}", timeout=5) as answer:
        return json.load(answer)


def write(host: Host, text: str) -> None:
    """Write a note through the shop; it is acknowledged when this returns."""
    request = urllib.request.Request(f"http://{host.ip}/notes", text.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert json.load(answer) == "kept"


def is_served(host: Host) -> bool:
    """Return whether the shop answers."""
    try:
        get(host, "/healthz")
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def head(host: Host, engine: str) -> str:
    """Return the Alembic revision that the database is at."""
    sql = "SELECT version_num FROM alembic_version"
    if engine == "postgres":
        return host.root("runuser -u postgres -- psql -AtqX shop", input=sql).stdout.strip()
    return host.root("mariadb -N shop", input=sql).stdout.strip()
