"""Deploy the scheduler: a website and a worker under supervisor, and SQLite, all on one VPS."""

import os

from deploykit import Environment, Host, Pipeline
from deploykit.databases import SQLite
from deploykit.services import Supervisor
from deploykit.stages import (
    Backup,
    Install,
    Migrate,
    Pause,
    Prune,
    Restart,
    SmokeTest,
    Transfer,
)

database = SQLite("shared/scheduler.sqlite3")
services = (Supervisor("scheduler-web"), Supervisor("scheduler-worker"))


def scheduler(site: str, root: str = "/srv/scheduler") -> Pipeline:
    """Return the pipeline of a scheduler that people reach at *site*."""
    return Pipeline(
        app="scheduler",
        root=root,
        env_file="shared/.env",
        stages=[
            Transfer(".", shared=[".env"]),
            Install("python3 -m compileall -q scheduler"),
            Backup(database, keep=7),
            # Old code never meets the new schema: the migrations rewrite what it reads.
            Pause(*services),
            Migrate("alembic.ini", database, on_rollback="downgrade"),
            Restart(*services),
            SmokeTest(f"{site}/healthz", within=15, name="healthz"),
            SmokeTest(f"{site}/posts", within=3, name="posts"),
            SmokeTest(f"{site}/overview", within=3, name="overview"),
            Prune(keep=5),
        ],
    )


production = Environment(
    scheduler("https://scheduler.example"), hosts=[Host("scheduler.example", user="deploy")]
)

# The host of `deploykit demo`, which lives for a minute. For a project of your own, leave it out.
demo = Environment(
    scheduler(
        os.environ.get("DEMO_URL", "http://127.0.0.1:8000"),
        root=os.environ.get("DEMO_ROOT", "/srv/scheduler"),
    ),
    hosts=[
        Host(
            os.environ.get("DEMO_ADDRESS", "127.0.0.1"),
            user=os.environ.get("DEMO_USER", "deploy"),
            port=int(os.environ.get("DEMO_PORT", "2222")),
            identity=os.environ.get("DEMO_IDENTITY"),
            host_key=os.environ.get("DEMO_HOST_KEY"),
            name="vps",
        )
    ],
)
