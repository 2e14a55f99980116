"""The application that the kill matrix deploys: one process under systemd, two schemas, a page."""

from __future__ import annotations

import random
from pathlib import Path

from tests.real import shop

__all__ = ["COLUMNS", "HEADS", "UNIT", "VERSIONS", "check_out"]

VERSIONS = ("v1", "v2", "broken")
"""`broken` is v2 with a page that its smoke test refuses."""

HEADS = {"v1": "0001", "v2": "0002", "broken": "0002"}
COLUMNS = {"v1": ("id", "body"), "v2": ("id", "text", "stars")}

UNIT = """
[Unit]
Description=The shop
StartLimitIntervalSec=0
[Service]
User=app
WorkingDirectory=/srv/shop/current
EnvironmentFile=/srv/shop/shared/.env
ExecStartPre=+/bin/sh -c 'echo "start $(basename "$(pwd -P)")" >>/srv/effects/log'
ExecStart=/srv/venv/bin/python app.py
ExecStopPost=+/bin/sh -c 'echo "stop $(basename "$(pwd -P)")" >>/srv/effects/log'
TimeoutStopSec=10
[Install]
WantedBy=multi-user.target
"""

# A written row is acknowledged after its commit, and never before.
APP = """
import http.server, json, os, psycopg2

release = os.path.basename(os.getcwd())
version = open("version").read().strip()
column = "body" if version == "v1" else "text"

class Page(http.server.BaseHTTPRequestHandler):
    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        page = "a page" if version != "broken" else "a page that is too long. " * 100
        self.answer(page if self.path == "/page" else release)

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        connection = psycopg2.connect(os.environ["DATABASE_URL"])
        with connection, connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO notes ({column}) VALUES (%s)", (text,))
        connection.close()
        self.answer("kept")

    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
    request_queue_size = 50

Server(("0.0.0.0", 8000), Page).serve_forever()
"""

ENV = """
import os

import sqlalchemy
from alembic import context

verb = context.config.cmd_opts.cmd[0].__name__
with open("/srv/effects/log", "a") as log:
    log.write(f"{verb} {os.environ['DEPLOYKIT_RUN']}\\n")
engine = sqlalchemy.create_engine(os.environ["SQLALCHEMY_URL"])
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

REVISIONS = {
    "0001": shop.REVISIONS["0001"],
    "0002": '''
"""call the body text, and count stars"""
import os
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def log(what):
    op.execute(f"INSERT INTO effects VALUES ('{what}', '{os.environ['DEPLOYKIT_RUN']}')")


def upgrade():
    op.alter_column(
        "notes", "body", new_column_name="text",
        existing_type=sa.String(200), existing_nullable=False,
    )
    op.add_column("notes", sa.Column("stars", sa.Integer, server_default="0", nullable=False))
    log("upgrade")


def downgrade():
    op.drop_column("notes", "stars")
    op.alter_column(
        "notes", "text", new_column_name="body",
        existing_type=sa.String(200), existing_nullable=False,
    )
    log("downgrade")
''',
}


def check_out(version: str, project: Path) -> None:
    """Make *project* the application's source at *version*."""
    app = project / "app"
    versions = app / "migrations" / "versions"
    versions.mkdir(parents=True)
    (app / "app.py").write_text(APP)
    (app / "version").write_text(f"{version}\n")
    (app / "alembic.ini").write_text(shop.INI)
    (app / "migrations" / "env.py").write_text(ENV)
    # Several pieces of an upload, and another picture in each version: what stays is not sent.
    (app / "picture").write_bytes(random.Random(version).randbytes(300_000) + version.encode())
    (app / "main").symlink_to("app.py")
    for revision, text in REVISIONS.items():
        if revision <= HEADS[version]:
            (versions / f"{revision}.py").write_text(text.lstrip())
