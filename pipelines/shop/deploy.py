"""Deploy the shop: FastAPI under systemd and PostgreSQL, all on one VPS."""

from deploykit import Environment, Host, Pipeline, Secret
from deploykit.databases import Postgres
from deploykit.stages import Backup, Install, Migrate, Pause, Prune, Restart, SmokeTest, Transfer

database = Postgres(Secret.on_host("shared/.env", "DATABASE_URL"))
services = ("shop.service", "shop-worker.service")


def shop(domain: str) -> Pipeline:
    """Return the pipeline of a shop that people reach at *domain*."""
    return Pipeline(
        app="shop",
        root="/srv/shop",
        env_file="shared/.env",
        stages=[
            Transfer(".", shared=[".env", "media/"]),
            Install("uv sync --frozen --no-dev"),
            Pause(*services),  # the old code never meets the new schema
            Backup(database, keep="14 days"),
            Migrate("alembic.ini", database, on_rollback="downgrade"),
            Restart(*services),
            SmokeTest(f"https://{domain}/healthz", within=30),
            Prune(keep=5),
        ],
    )


staging = Environment(shop("staging.shop.example"), hosts=[Host("10.0.0.9", user="deploy")])
production = Environment(shop("shop.example"), hosts=[Host("shop.example", user="deploy")])
