"""
Ansible and pyinfra doing the seven commands of the run, as tersely as either can.

Neither writes a journal, takes a lock, looks before it acts, or could go back: what they take is
what the commands, the logins and their own ways take.
"""

from __future__ import annotations

import tarfile
import time
from pathlib import Path

from benchmarks.parts import peers
from benchmarks.parts.peers import Command, Login
from tests.farm.network import Outside
from tests.faults.site import ROOT, Site

__all__ = ["NAMES", "install", "run", "versions"]

NAMES = ("ansible", "pyinfra")
WANTED = ("ansible-core", "pyinfra")
RELEASE = f"{ROOT}/releases/peer"
DUMP = f"{ROOT}/backups/peer.dump"
WITHIN = 300
WAIT = "for i in $(seq 100); do curl -fsS -o /dev/null {url} && exit 0; sleep 0.1; done; exit 1"

# What the stages run, without what makes them safe to repeat and to undo.
STEPS = {
    "unpack": f"""
mkdir -p {RELEASE}
tar -xzf {ROOT}/peer.tar.gz -C {RELEASE}
ln -s ../../shared/.env {RELEASE}/.env""",
    "install": f"""
cd {RELEASE}
python3 -m compileall -q app.py
sleep 0.1""",
    "backup": f"""
mkdir -p {ROOT}/backups
. {ROOT}/shared/.env
pg_dump --format=custom --compress=6 --file={DUMP} "$DATABASE_URL"
pg_restore --file=/dev/null {DUMP}
sync {DUMP}""",
    "pause": """
sudo -n /usr/bin/systemctl stop shop.service""",
    "migrate": f"""
set -a
. {ROOT}/shared/.env
DEPLOYKIT_RUN=peer
cd {RELEASE}
/srv/venv/bin/python -m alembic upgrade head""",
    "restart": f"""
ln -s releases/peer {ROOT}/.current
mv -fT {ROOT}/.current {ROOT}/current
sudo -n /usr/bin/systemctl start shop.service""",
}


def install(outside: Outside) -> Path:
    """Return the folder of their programs; they are installed from PyPI if need be."""
    return peers.install("peers", WANTED, outside)


def versions(programs: Path) -> dict[str, str]:
    """Return the version of each."""
    return dict(zip(NAMES, peers.versions(programs, WANTED), strict=True))


def run(name: str, programs: Path, site: Site, port: int, folder: Path) -> float:
    """Return the seconds that *name* takes for everything, from a start without a connection."""
    folder.mkdir(parents=True)
    url = f"http://{site.host.ip}:8000/page"
    archive = folder / "peer.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(site.project("v2") / "app", arcname=".")
    prepare = {"ansible": _ansible, "pyinfra": _pyinfra}[name]
    command = prepare(Login(programs, site.host, port, folder), url)
    began = time.monotonic()
    done = command.run(WITHIN)
    took = time.monotonic() - began
    if done.returncode != 0 or site.get("release") != "peer":
        raise SystemExit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
    return took


def _ansible(login: Login, url: str) -> Command:
    return peers.ansible(
        login,
        [
            {"copy": {"src": str(login.folder / "peer.tar.gz"), "dest": f"{ROOT}/peer.tar.gz"}},
            *({"name": name, "shell": f"set -e{script}"} for name, script in STEPS.items()),
            {
                "name": "smoke test",
                "command": {"argv": ["sh", "-c", WAIT.format(url=url)]},
                "delegate_to": "localhost",
                "connection": "local",
            },
        ],
    )


def _pyinfra(login: Login, url: str) -> Command:
    smoke = f"lambda: local.shell({WAIT.format(url=url)!r})"
    archive = f"src={str(login.folder / 'peer.tar.gz')!r}, dest={f'{ROOT}/peer.tar.gz'!r}"
    return peers.pyinfra(
        login,
        [
            "from pyinfra import local",
            "from pyinfra.operations import files, python, server",
            f"files.put(name='upload', {archive})",
            *(
                f"server.shell(name={name!r}, commands=[{f'set -e{script}'!r}])"
                for name, script in STEPS.items()
            ),
            f"python.call(name='smoke test', function={smoke})",
        ],
    )
