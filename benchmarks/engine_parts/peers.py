"""
Ansible and pyinfra doing the seven commands of the run, as tersely as either can.

Neither writes a journal, takes a lock, looks before it acts, or could go back: what they take is
what the commands, the logins and their own ways take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.farm.base import cache, locked
from tests.farm.network import Outside
from tests.farm.shell import call
from tests.farm.wheels import ENVIRONMENT
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

INVENTORY = "hosts = [('{address}', {words})]\n"


def install(outside: Outside) -> Path:
    """Return the folder of their programs; they are installed from PyPI if need be."""
    home = cache() / "peers"
    with locked(cache() / "peers.lock"):
        if not (home / "ready").exists():
            call(sys.executable, "-m", "venv", "--clear", str(home), env=ENVIRONMENT)
            call(
                *(*outside.prefix, str(home / "bin" / "python"), "-m", "pip", "install"),
                *("--quiet", *WANTED),
                env=ENVIRONMENT,
                pass_fds=outside.fds,
                within=600,
            )
            (home / "ready").touch()
    return home / "bin"


def versions(programs: Path) -> dict[str, str]:
    """Return the version of each."""
    script = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    done = call(str(programs / "python"), "-c", script, *WANTED)
    return dict(zip(NAMES, done.stdout.split(), strict=True))


def run(name: str, programs: Path, site: Site, port: int, folder: Path) -> float:
    """Return the seconds that *name* takes for everything, from a start without a connection."""
    folder.mkdir(parents=True)
    url = f"http://{site.host.ip}:8000/page"
    archive = folder / "peer.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(site.project("v2") / "app", arcname=".")
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {site.host.host_key}\n")
    prepare = {"ansible": _ansible, "pyinfra": _pyinfra}[name]
    words, env = prepare(programs, site, port, folder, url)
    began = time.monotonic()
    done = subprocess.run(
        words, cwd=folder, env=env, capture_output=True, text=True, timeout=WITHIN, check=False
    )
    took = time.monotonic() - began
    for path in folder.glob("cp/*"):  # the connection that it leaves for a next command
        subprocess.run(
            ["ssh", "-O", "exit", "-o", f"ControlPath={path}", "host"],
            capture_output=True,
            check=False,
        )
    if done.returncode != 0 or site.get("release") != "peer":
        raise SystemExit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
    return took


def _environment(programs: Path, folder: Path, **more: str) -> dict[str, str]:
    path = f"{programs}:{os.environ['PATH']}"
    return {**ENVIRONMENT, "HOME": str(folder), "PATH": path, "LC_ALL": "C.UTF-8", **more}


def _ansible(
    programs: Path, site: Site, port: int, folder: Path, url: str
) -> tuple[Sequence[str], dict[str, str]]:
    tasks: list[dict[str, Any]] = [
        {"copy": {"src": str(folder / "peer.tar.gz"), "dest": f"{ROOT}/peer.tar.gz"}},
        *({"name": name, "shell": f"set -e{script}"} for name, script in STEPS.items()),
        {
            "name": "smoke test",
            "command": {"argv": ["sh", "-c", WAIT.format(url=url)]},
            "delegate_to": "localhost",
            "connection": "local",
        },
    ]
    play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    (folder / "play.yml").write_text(json.dumps(play))
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_user": "deploy",
        "ansible_ssh_private_key_file": str(site.host.identity),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    hosts = {"all": {"hosts": {"web": variables}}}
    (folder / "hosts.yml").write_text(json.dumps(hosts))
    (folder / "ansible.cfg").write_text(
        "[defaults]\nretry_files_enabled = False\n[ssh_connection]\npipelining = True\n"
        "ssh_args = -o ControlMaster=auto -o ControlPersist=60s"
        f" -o UserKnownHostsFile={folder}/known_hosts -o KexAlgorithms=curve25519-sha256\n"
        f"control_path_dir = {folder}/cp\n"
    )
    words = [str(programs / "ansible-playbook"), "-i", "hosts.yml", "play.yml"]
    return words, _environment(programs, folder, ANSIBLE_CONFIG=str(folder / "ansible.cfg"))


def _pyinfra(
    programs: Path, site: Site, port: int, folder: Path, url: str
) -> tuple[Sequence[str], dict[str, str]]:
    words = {
        "ssh_port": port,
        "ssh_user": "deploy",
        "ssh_key": str(site.host.identity),
        "ssh_known_hosts_file": str(folder / "known_hosts"),
    }
    (folder / "inventory.py").write_text(INVENTORY.format(address="127.0.0.1", words=words))
    archive = f"src={str(folder / 'peer.tar.gz')!r}, dest={f'{ROOT}/peer.tar.gz'!r}"
    lines = [
        "from pyinfra import local",
        "from pyinfra.operations import files, python, server",
        f"files.put(name='upload', {archive})",
        *(
            f"server.shell(name={name!r}, commands=[{f'set -e{script}'!r}])"
            for name, script in STEPS.items()
        ),
        f"python.call(name='smoke test', function=lambda: local.shell({WAIT.format(url=url)!r}))",
    ]
    (folder / "deploy.py").write_text("\n".join(lines) + "\n")
    command = [str(programs / "pyinfra"), "--yes", "inventory.py", "deploy.py"]
    return command, _environment(programs, folder)
