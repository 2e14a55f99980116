"""
Deploy I Hate Money, a shared budget on the web that somebody else wrote.

It runs under gunicorn and systemd with PostgreSQL, all on one host. IHATEMONEY_VERSION chooses
the version, IHATEMONEY_HOST the host, IHATEMONEY_URL the page that must answer afterwards.
"""

import os

from deploykit import Environment, Host, Pipeline, Secret
from deploykit.databases import Postgres
from deploykit.stages import (
    Backup,
    Install,
    Local,
    Migrate,
    Pause,
    Prune,
    Restart,
    SmokeTest,
    Transfer,
)

database = Postgres(Secret.on_host("shared/.env", "DATABASE_URL"))


def ihatemoney(version: str, url: str) -> Pipeline:
    """Return the pipeline that brings *version* to where *url* is served."""
    return Pipeline(
        app="ihatemoney",
        root="/srv/ihatemoney",
        env_file="shared/.env",
        stages=[
            Local(f"python3 pack.py {version}"),
            Transfer("release"),
            Install(
                "python3 -m venv .venv"
                " && .venv/bin/pip install --no-index --find-links wheels -r requirements.txt"
            ),
            # The old version does not work on the new schema, and each migrates as it starts:
            # from here to Restart nothing of it runs, so the backup lacks no bill.
            Pause("ihatemoney.service"),
            Backup(database, keep=7),
            Migrate(
                "alembic.ini",
                database,
                on_rollback="downgrade",
                command="flask --app schema db",
            ),
            Restart("ihatemoney.service"),
            SmokeTest(url, within=30),
            Prune(keep=3),
        ],
    )


production = Environment(
    ihatemoney(
        version=os.environ.get("IHATEMONEY_VERSION", "7.2.1"),
        url=os.environ.get("IHATEMONEY_URL", "https://budget.example.com/healthcheck"),
    ),
    hosts=[Host(os.environ.get("IHATEMONEY_HOST", "budget.example.com"), user="deploy")],
)
