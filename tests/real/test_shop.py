"""The whole pipeline on a real server: nginx, gunicorn under another user, systemd, a database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploykit import Environment, Pipeline, Secret
from deploykit import Host as Target
from deploykit.databases import MariaDB, Postgres
from deploykit.engine.outcome import RunResult
from deploykit.errors import Refused
from deploykit.stages import (
    Backup,
    HealthCheck,
    Install,
    Migrate,
    Pause,
    Prune,
    Restart,
    SmokeTest,
    Transfer,
)
from tests.farm import Host
from tests.real import shop

# Unpacked, not installed by pip: a second instead of ten, and test_ihatemoney.py does it by pip.
INSTALL = (
    "python3 -m venv --without-pip .venv\n"
    "for wheel in wheels/*.whl; do\n"
    "  python3 -m zipfile -e $wheel .venv/lib/python3*/site-packages\n"
    "done"
)


@dataclass(frozen=True)
class Shop:
    """The shop's source, its server, and the engine of its database."""

    host: Host
    project: Path
    wheels: Path
    engine: str

    def environment(self, page: str = "/page") -> Environment:
        """Return the environment, smoke-tested by *page*."""
        url = Secret.on_host("shared/.env", "DATABASE_URL")
        database = Postgres(url) if self.engine == "postgres" else MariaDB(url)
        pipeline = Pipeline(
            app="shop",
            root="/srv/shop",
            env_file="shared/.env",
            stages=[
                Transfer(".", shared=[".env", "media/"]),
                Install(INSTALL),
                Pause("shop.service"),
                Backup(database, keep=5),
                Migrate(
                    "alembic.ini",
                    database,
                    on_rollback="downgrade",
                    command="python -m alembic",
                ),
                Restart("shop.service"),
                HealthCheck(port=8000, path="/healthz", within=15),
                SmokeTest(f"http://{self.host.ip}{page}", within=5),
                Prune(keep=3),
            ],
        )
        target = Target(
            self.host.ip,
            user="deploy",
            identity=str(self.host.identity),
            host_key=self.host.host_key,
            name="web",
        )
        return Environment(pipeline, hosts=[target], name="production", project=self.project)

    def run(self, version: str, **options: bool) -> RunResult:
        """Deploy *version*."""
        shop.check_out(version, self.project, self.wheels)
        return self.environment().run(**options)


@pytest.fixture(params=["postgres", "mariadb"])
def engine(request: pytest.FixtureRequest) -> str:
    """Return the database engine."""
    return str(request.param)


@pytest.fixture
def site(host: Host, tmp_path: Path, engine: str, wheelhouse: Callable[..., Path]) -> Shop:
    """Return a prepared server where nothing was ever deployed."""
    shop.prepare(host, engine)
    return Shop(host, tmp_path / "shop", wheelhouse(*shop.WHEELS), engine)


def test_three_nights(site: Shop) -> None:
    """Two releases go well, the third fails its smoke test, and every row is where it was."""
    first = site.run("v1")
    assert first.exit_code == 0, first.error
    assert shop.get(site.host, "/healthz")["release"] == first.release
    shop.write(site.host, "written through v1")

    second = site.run("v2")
    assert second.exit_code == 0, second.error
    assert shop.head(site.host, site.engine) == "0002"
    shop.write(site.host, "written through v2 – ü")
    notes = shop.get(site.host, "/notes")
    assert notes == ["written through v1", "written through v2 – ü"]

    third = site.run("v3")
    assert (third.exit_code, third.state) == (1, "rolled_back"), third.error
    assert "500" in str(third.error)
    assert shop.get(site.host, "/healthz")["release"] == second.release
    assert shop.head(site.host, site.engine) == "0002"
    assert shop.get(site.host, "/notes") == notes

    with pytest.raises(Refused, match="rolled back before"):
        site.run("v3")
    status = site.environment().status()
    assert status.ok, status
    assert status.hosts[0].release == second.release


def test_a_failed_first_deploy_leaves_nothing_running(site: Shop) -> None:
    """The service is stopped, there is no `current`, and the release is kept as bad."""
    result = site.run("v3")
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert not shop.is_served(site.host)
    assert not site.host.exists("/srv/shop/current")
    assert site.host.root("systemctl is-active shop.service || :").stdout.strip() == "inactive"
    ledger = site.environment().status().hosts[0].ledger
    assert [(line.id, line.state, line.rejected) for line in ledger.lines] == [
        (result.run, "bad", True)
    ]
    assert site.host.exists(f"/srv/shop/releases/{result.run}/app.py")


def test_a_rollback_by_hand_brings_code_and_schema_back(site: Shop) -> None:
    """Hours later a person goes back one release, and reads what was written meanwhile."""
    first = site.run("v1")
    assert first.exit_code == 0, first.error
    assert site.run("v2").exit_code == 0
    shop.write(site.host, "written through v2")
    back = site.environment().rollback()
    assert back.exit_code == 0, back.error
    assert shop.head(site.host, site.engine) == "0001"
    assert shop.get(site.host, "/healthz")["release"] == first.release
    assert shop.get(site.host, "/notes") == ["written through v2"]
