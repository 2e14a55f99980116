"""
I Hate Money, an application that nobody here wrote, taken from 7.0.1 to 7.2.1 and back.

The pipeline is the one in `pipelines/ihatemoney`, run as a user would run it; what the tests know
of the site they know from its web pages, from systemd and from PostgreSQL.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest

from tests.farm import Farm, FarmError, Host, eventually, wheels
from tests.farm.base import cache, locked
from tests.farm.shell import call
from tests.real.ihatemoney_site import Bill, IHateMoney, Project

PIPELINE: Final = Path(__file__).parents[2] / "pipelines" / "ihatemoney"
UNIT: Final = "ihatemoney.service"

OLD, OLD_HEAD = "7.0.1", "06884b17c50f"
NEW, NEW_HEAD = "7.2.1", "c941aaca38c2"

FLAT: Final = Project("flat", code="under the mat")
MEMBERS: Final = ("Ana", "Bo", "Zoë")
BREAD: Final = Bill(date(2026, 1, 5), "bread & <b>butter</b>", "Ana", Decimal("12.30"), MEMBERS)
TAXI: Final = Bill(date(2026, 1, 7), "taxi", "Zoë", Decimal("31.45"), ("Bo",))
SOUP: Final = Bill(date(2026, 2, 1), "soup", "Bo", Decimal("0.10"), ("Ana", "Bo"))
TEA: Final = Bill(date(2026, 2, 2), "tea", "Ana", Decimal(4), ("Zoë",))


@dataclass(frozen=True)
class Deployment:
    """The pipeline's folder and the host it deploys to."""

    project: Path
    host: Host
    wheelhouse: Path

    @property
    def log(self) -> Path:
        """The file with what the newest run has said."""
        return self.project.with_suffix(".log")

    @property
    def url(self) -> str:
        """Where the site is served."""
        return f"http://{self.host.ip}:8000"

    def run(self, version: str, page: str = "/healthcheck") -> subprocess.Popen[bytes]:
        """Start `deploykit run production` for *version*, smoke-tested by *page*."""
        chosen = {
            "IHATEMONEY_VERSION": version,
            "IHATEMONEY_HOST": self.host.name,
            "IHATEMONEY_URL": f"{self.url}{page}",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheelhouse),
        }
        with self.log.open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "deploykit", "run", "production"],
                cwd=self.project,
                env=os.environ | chosen,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def finish(self, run: subprocess.Popen[bytes]) -> int:
        """Wait for *run* to end and return its exit code."""
        with run:
            return run.wait(timeout=300)

    def succeed(self, version: str) -> None:
        """Deploy *version* and expect it to be done."""
        assert self.finish(self.run(version)) == 0, self.log.read_text()

    def head(self) -> str:
        """Return the database's Alembic revision."""
        return self._query("SELECT version_num FROM alembic_version")

    def head_moved(self) -> datetime:
        """Return when the transaction that wrote the revision was committed."""
        moved = self._query(
            "SELECT pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC' FROM alembic_version"
        )
        return datetime.fromisoformat(moved).replace(tzinfo=UTC)

    def unit_time(self, name: str) -> datetime:
        """Return a time that systemd keeps for the unit, such as `InactiveEnterTimestamp`."""
        said = self.host.root(f"systemctl show {UNIT} -P {name} --timestamp=us+utc").stdout
        return datetime.strptime(said.strip(), "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC)

    def served_version(self) -> str:
        """Return the version of the release that the running service was started in."""
        said = self.host.root(
            f"""
            release=$(readlink /proc/$(systemctl show {UNIT} -P MainPID)/cwd)
            sed -n s/^ihatemoney==//p $release/requirements.txt
            """
        )
        return said.stdout.strip()

    def _query(self, sql: str) -> str:
        psql = "runuser -u postgres -- psql -AtqX --set ON_ERROR_STOP=1 ihatemoney"
        return self.host.root(psql, input=sql).stdout.strip()


@pytest.fixture(scope="module")
def packed_wheels(farm: Farm) -> Path:
    """Return a directory with every wheel of both versions, downloaded once and kept."""
    if farm.outside is None:
        raise FarmError("the farm is down")
    house = cache() / "wheels" / f"ihatemoney-{OLD}-{NEW}"
    with locked(cache() / "wheels.lock"):
        if not house.exists():
            rough = house.with_suffix(".rough")
            shutil.rmtree(rough, ignore_errors=True)
            for version in (OLD, NEW):
                release = rough / f"release-{version}"
                call(
                    *(*farm.outside.prefix, sys.executable, str(PIPELINE / "pack.py"), version),
                    f"--into={release}",
                    env=wheels.ENVIRONMENT,
                    pass_fds=farm.outside.fds,
                    within=600,
                )
                shutil.copytree(release / "wheels", rough, dirs_exist_ok=True)
                shutil.rmtree(release)
            rough.rename(house)
    return house


@pytest.fixture
def deployment(fresh_host: Host, home: Path, tmp_path: Path, packed_wheels: Path) -> Deployment:
    """Return a host made ready as the pipeline's README says, where 7.0.1 serves two bills."""
    host = fresh_host
    (home / ".ssh").mkdir(mode=0o700)
    shutil.copy(host.ssh_config, home / ".ssh" / "config")
    shutil.copy(host.known_hosts, home / ".ssh" / "known_hosts")
    prepare(host)
    project = tmp_path / "ihatemoney"
    shutil.copytree(PIPELINE, project)
    made = Deployment(project, host, packed_wheels)
    made.succeed(OLD)
    with IHateMoney(made.url) as visitor:
        visitor.create_project(FLAT, MEMBERS)
        visitor.add_bill(FLAT, BREAD)
        visitor.add_bill(FLAT, TAXI)
    return made


def prepare(host: Host) -> None:
    """Give *host* the database, the unit and the settings that the pipeline expects."""
    url = host.postgres("ihatemoney", user="ihatemoney", password="sesame")
    # With it PostgreSQL can tell when the row with the revision was written, and by no trigger.
    host.root(
        """
        runuser -u postgres -- psql -qX -c 'ALTER SYSTEM SET track_commit_timestamp = on'
        systemctl restart postgresql@15-main
        """
    )
    host.root("install -d -o deploy -g deploy /srv/ihatemoney")
    host.root("install -d -m 2770 -o deploy -g app /srv/ihatemoney/shared")
    settings = [
        f"DATABASE_URL={url}",
        "SECRET_KEY=a-key-that-only-tests-know",
        "SESSION_COOKIE_SECURE=no",
        "GUNICORN_CMD_ARGS=--bind=0.0.0.0:8000",
    ]
    text = "".join(f"{line}\n" for line in settings)
    host.write("/srv/ihatemoney/shared/.env", text, mode=0o640, owner="deploy:app")
    host.unit(UNIT, (PIPELINE / UNIT).read_text())
    # systemd forgets a stopped unit, and when it stopped, unless something wants it.
    host.root(f"systemctl enable {UNIT}")
    host.sudoers(f"deploy ALL=(root) NOPASSWD: /usr/bin/systemctl * {UNIT}")


def test_upgrade(deployment: Deployment) -> None:
    """The newest version serves what the old one wrote, and its schema came while none ran."""
    assert (deployment.served_version(), deployment.head()) == (OLD, OLD_HEAD)
    deployment.succeed(NEW)
    assert (deployment.served_version(), deployment.head()) == (NEW, NEW_HEAD)
    stopped = deployment.unit_time("InactiveEnterTimestamp")
    started = deployment.unit_time("ExecMainStartTimestamp")
    assert stopped < deployment.head_moved() < started
    with IHateMoney(deployment.url) as visitor:
        visitor.sign_in(FLAT)
        visitor.add_bill(FLAT, SOUP)
        assert visitor.bills(FLAT) == [BREAD, TAXI, SOUP]
        assert visitor.bill_titles(FLAT) == ["soup", "taxi", "bread & <b>butter</b>"]


def test_failing_smoke_test(deployment: Deployment) -> None:
    """After an upgrade that failed its smoke test, the old version serves every bill there is."""
    upgrade = deployment.run(NEW, page="/static/nothing-of-that-name")
    with IHateMoney(deployment.url) as visitor:

        def the_new_version_serves() -> bool:
            assert upgrade.poll() is None, deployment.log.read_text()
            return deployment.head() == NEW_HEAD and visitor.is_up()

        eventually(the_new_version_serves, within=240)
        visitor.sign_in(FLAT)
        visitor.add_bill(FLAT, SOUP)
    assert deployment.finish(upgrade) == 1, deployment.log.read_text()
    assert (deployment.served_version(), deployment.head()) == (OLD, OLD_HEAD)
    stopped = deployment.unit_time("InactiveEnterTimestamp")
    started = deployment.unit_time("ExecMainStartTimestamp")
    assert stopped < deployment.head_moved() < started
    with IHateMoney(deployment.url) as visitor:
        visitor.sign_in(FLAT)
        assert visitor.bills(FLAT) == [BREAD, TAXI, SOUP]
        visitor.add_bill(FLAT, TEA)
        assert visitor.bills(FLAT) == [BREAD, TAXI, SOUP, TEA]
