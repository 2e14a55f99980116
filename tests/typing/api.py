"""Never run, only type-checked: what users write, and what must be an error in their editor."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit import Environment, Host, Pipeline, Secret
from deploykit.command import Command
from deploykit.databases import MariaDB, Postgres, SQLite
from deploykit.engine.outcome import RunResult
from deploykit.services import Supervisor, Systemd
from deploykit.stage import Acting, Planning, Stage
from deploykit.stages import (
    Backup,
    HealthCheck,
    Install,
    Local,
    Migrate,
    Pause,
    Prune,
    Publish,
    Restart,
    Shell,
    SmokeTest,
    Transfer,
)

database = Postgres(Secret.on_host("shared/.env", "DATABASE_URL"))


@dataclass(frozen=True)
class Warmed:
    """A plan of one's own."""

    url: str


@dataclass(frozen=True)
class Warm:
    """A stage of one's own: no base class, and the checker knows that it is one."""

    url: str
    name: str = "warm"

    def plan(self, ctx: Planning) -> Warmed:
        """Look."""
        ctx.host.query("true")
        # A plan that changes a host is an error before it is ever run.
        ctx.host.change(Command("no", "true"))  # type: ignore[attr-defined]
        return Warmed(self.url)

    def apply(self, ctx: Acting, plan: Warmed) -> None:
        """Do."""
        ctx.host.change(Command("warm", f"curl -fsS {plan.url}", again=True))

    def undo(self, ctx: Acting, plan: Warmed) -> None:
        """Nothing came of it."""


stage: Stage[Warmed] = Warm("http://127.0.0.1")

pipeline = Pipeline(
    app="shop",
    root="/srv/shop",
    env_file="shared/.env",
    path=["bin"],
    stages=[
        Local("make"),
        Transfer(".", exclude=["*.psd"], shared=[".env", "media/"]),
        Install("uv sync --frozen --no-dev"),
        Pause("shop.service"),
        Backup(database, keep="14 days"),
        Migrate("alembic.ini", database, on_rollback="downgrade"),
        Restart("shop.service", Systemd("worker.service", user=True), Supervisor("mailer")),
        Publish(),
        HealthCheck(port=8000, path="/healthz"),
        SmokeTest("https://shop.example", status=200, contains="Welcome", within=30),
        Shell("warm-cache", do="true", undo="true", again=True),
        Warm("http://127.0.0.1"),
        Prune(keep=5),
    ],
)
production = Environment(
    pipeline,
    hosts=[
        Host(
            "shop.example",
            user="deploy",
            port=2222,
            identity="keys/id",
            host_key=None,
            jump=None,
            sudo=Secret.from_env("SUDO_PASSWORD"),
            roles={"web"},
            name=None,
        )
    ],
)

result: RunResult = production.run()
back: RunResult = production.rollback("20261104T101512Z")
code: int = result.exit_code
other = [MariaDB("mysql://u@h/d"), SQLite("shared/app.sqlite3")]

# Mistakes that an editor shows.
Migrate("alembic.ini", database)  # type: ignore[call-arg]
Migrate("alembic.ini", database, on_rollback="downgrad")  # type: ignore[arg-type]
Host("shop.example", usr="deploy")  # type: ignore[call-arg]
Prune(keep="5")  # type: ignore[arg-type]
