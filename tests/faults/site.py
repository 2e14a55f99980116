"""The server of the kill matrix: prepared once, put back to its first state when need be."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from deploykit import Environment, Pipeline, Secret
from deploykit import Host as Target
from deploykit.databases import Postgres
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
from tests.farm import Host, eventually
from tests.faults import sources

__all__ = ["ROOT", "Site", "environment"]

ROOT = "/srv/shop"
SUDOERS = "\n".join(
    f"deploy ALL=(root) NOPASSWD: /usr/bin/systemctl {verb} shop.service"
    for verb in ("restart", "start", "stop", "reset-failed")
)
# Outside of the releases: installing it is not what is measured here.
VENV = """
python3 -m venv --without-pip /srv/venv
for wheel in /srv/wheels/*.whl; do
  python3 -m zipfile -e "$wheel" /srv/venv/lib/python3*/site-packages
done
/srv/venv/bin/python -m compileall -q /srv/venv/lib >/dev/null || :
rm -rf /srv/wheels
# Debian's own are Perl scripts that look for the right version, which takes them 0.1 s.
ln -sf /usr/lib/postgresql/15/bin/psql /usr/lib/postgresql/15/bin/pg_* /usr/bin/
"""
INSTALL = """
python3 -m compileall -q app.py
sleep 0.1
echo "install $DEPLOYKIT_RUN" >>/srv/effects/log
"""


def environment(host: dict[str, str], project: Path) -> Environment:
    """Return the environment: *host* are the words of a `Target`, *project* holds the source."""
    database = Postgres(Secret.on_host("shared/.env", "DATABASE_URL"))
    pipeline = Pipeline(
        app="shop",
        root=ROOT,
        env_file="shared/.env",
        path=["/srv/venv/bin"],
        stages=[
            Transfer("app", shared=[".env", "media/"]),
            Install(INSTALL),
            Backup(database, keep=2),
            Pause("shop.service"),
            Migrate("alembic.ini", database, on_rollback="downgrade", command="python -m alembic"),
            Restart("shop.service"),
            SmokeTest(f"http://{host['address']}:8000/page", max_bytes=500, within=20),
            Prune(keep=3),
        ],
    )
    return Environment(pipeline, hosts=[Target(**host)], name="production", project=project)  # type: ignore[arg-type]  # strings only


@dataclass
class Site:
    """
    A server with the application, and the operator's folder beside it.

    Args:
        host: of the farm.
        folder: of this machine, for projects, states and logs.
        releases: those that were published in the states that are kept.
    """

    host: Host
    folder: Path
    releases: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> dict[str, str]:
        """The words of a `Target`."""
        host = self.host
        return {
            "address": host.ip,
            "user": "deploy",
            "identity": str(host.identity),
            "host_key": host.host_key,
            "name": "web",
        }

    @property
    def base(self) -> str:
        """The release of v1, to which every case can go back."""
        return self.releases["old"]

    @property
    def root(self) -> Path:
        """The pipeline's root, as seen from this machine."""
        return self.outside(ROOT)

    def outside(self, path: str) -> Path:
        """Return where this machine sees *path* of the host."""
        return self.host._where / "root" / path.lstrip("/")

    def project(self, version: str) -> Path:
        """Return the folder of the source at *version*."""
        return self.folder / version

    def prepare(self, wheels: Path) -> None:
        """Make the server ready for its first deploy."""
        for version in sources.VERSIONS:
            sources.check_out(version, self.project(version))
        host = self.host
        host.root(f"install -d -o deploy -g deploy {ROOT}; install -d -m 777 /srv/effects")
        host.root(f"install -d -m 2770 -o deploy -g app {ROOT}/shared")
        host.root("touch /srv/effects/log; chmod 666 /srv/effects/log")
        url = host.postgres()
        lines = (
            f"DATABASE_URL={url}\nSQLALCHEMY_URL=postgresql+psycopg2://{url.partition('://')[2]}\n"
        )
        host.write(f"{ROOT}/shared/.env", lines, mode=0o640, owner="deploy:app")
        host.copy(wheels, "/srv/wheels")
        host.root(VENV, within=300)
        host.unit("shop.service", sources.UNIT)
        host.sudoers(SUDOERS)
        host.root("systemctl enable -q shop.service")
        self.sql("CREATE TABLE effects (what text, run text)")

    def keep(self, state: str, release: str) -> None:
        """Remember the server as it is now, with *release* published, under the name *state*."""
        self.releases[state] = release
        self.host.root(f"tar -C {ROOT} --exclude=./shared -cf /srv/{state}.tar .")
        self.host.root(f"cp /srv/effects/log /srv/{state}.log")
        self._server(f"DROP DATABASE IF EXISTS {state}")
        self._server(f"CREATE DATABASE {state} TEMPLATE shop OWNER shop")

    def restore(self, state: str) -> None:
        """Put the server back to a *state* that was kept, whatever has become of it."""
        self.host.root("systemctl stop shop.service")
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server("DROP DATABASE shop WITH (FORCE)")
        self._server(f"CREATE DATABASE shop TEMPLATE {state} OWNER shop")
        self.host.root(
            f"cd {ROOT}; find . -mindepth 1 -maxdepth 1 ! -name shared -exec rm -rf {{}} +\n"
            f"tar -xf /srv/{state}.tar\n"
            "systemctl reset-failed shop.service 2>/dev/null || :; systemctl start shop.service"
        )
        eventually(lambda: self.get("release") == self.releases[state], within=20)
        self.host.root(f"cat /srv/{state}.log >/srv/effects/log")

    def processes(self) -> dict[int, str]:
        """Return the processes of the deploy user by id, with their command lines."""
        found = {}
        for pid in self.host._group.processes():
            with suppress(OSError):  # it has ended meanwhile
                folder = Path(f"/proc/{pid}")
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                environ = (folder / "environ").read_bytes()
                own = folder.stat().st_uid == 1000 or b"DEPLOYKIT_COMMAND=" in environ
                if own and line and not line.startswith(_LOGIN):
                    found[pid] = line
        return found

    def get(self, page: str) -> str:
        """Return what the application answers; empty if nothing does."""
        try:
            with urllib.request.urlopen(f"http://{self.host.ip}:8000/{page}", timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows that *statement* gives."""
        url = f"postgresql://shop:secret@{self.host.ip}:5432/shop"
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _server(self, statement: str) -> None:
        self.host.root("runuser -u postgres -- psql -qX -v ON_ERROR_STOP=1", input=statement)


# What systemd and sshd themselves run for a user who logs in.
_LOGIN = ("/lib/systemd/systemd --user", "(sd-pam)", "/usr/bin/dbus-daemon", "sshd: deploy")
