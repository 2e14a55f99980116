"""Tools from PyPI that deploykit is compared with: an environment for them, and how they start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.farm.base import cache, locked
from tests.farm.host import Host
from tests.farm.network import Outside
from tests.farm.shell import call
from tests.farm.wheels import ENVIRONMENT

__all__ = ["Command", "Login", "ansible", "environment", "install", "pyinfra", "versions"]

INVENTORY = "hosts = [('127.0.0.1', {words})]\n"


@dataclass(frozen=True)
class Login:
    """
    How a peer reaches a host.

    Args:
        programs: where the peers are.
        host: to log in to, as `deploy`.
        port: of this machine, that leads to it.
        folder: for what the peer is given, and keeps.
    """

    programs: Path
    host: Host
    port: int
    folder: Path

    @property
    def known(self) -> Path:
        """A known_hosts file that has this port."""
        known = self.folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.port} {self.host.host_key}\n")
        return known


@dataclass(frozen=True)
class Command:
    """What starts a peer: words and environment, in a folder."""

    words: Sequence[str]
    env: Mapping[str, str]
    folder: Path

    def run(self, within: float) -> subprocess.CompletedProcess[str]:
        """
        Run it.

        Raises:
            subprocess.TimeoutExpired: it was not done *within* so many seconds.
        """
        with subprocess.Popen(
            self.words,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # Ansible's workers would outlive it, and keep the pipes open
        ) as process:
            try:
                out, errors = process.communicate(timeout=within)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            finally:
                self._leave()
        return subprocess.CompletedProcess(self.words, process.returncode, out, errors)

    def _leave(self) -> None:
        """Close the connection that it keeps for a next command."""
        for path in self.folder.glob("cp/*"):
            words = ["ssh", "-O", "exit", "-o", f"ControlPath={path}", "host"]
            subprocess.run(words, capture_output=True, check=False)


def install(name: str, wanted: Sequence[str], outside: Outside) -> Path:
    """Return the folder of the programs of *wanted*, installed from PyPI as *name* if need be."""
    home = cache() / name
    with locked(cache() / f"{name}.lock"):
        if not (home / "ready").exists():
            call(sys.executable, "-m", "venv", "--clear", str(home), env=ENVIRONMENT)
            call(
                *(*outside.prefix, str(home / "bin" / "python"), "-m", "pip", "install"),
                *("--quiet", *wanted),
                env=ENVIRONMENT,
                pass_fds=outside.fds,
                within=600,
            )
            (home / "ready").touch()
    return home / "bin"


def versions(programs: Path, wanted: Sequence[str]) -> list[str]:
    """Return the version of each."""
    script = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    return call(str(programs / "python"), "-c", script, *wanted).stdout.split()


def ansible(login: Login, tasks: Sequence[Mapping[str, Any]]) -> Command:
    """Return what has Ansible do *tasks*, with pipelining and one connection kept open."""
    folder = login.folder
    play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    (folder / "play.yml").write_text(json.dumps(play))
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_port": login.port,
        "ansible_user": "deploy",
        "ansible_ssh_private_key_file": str(login.host.identity),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    hosts = {"all": {"hosts": {"web": variables}}}
    (folder / "hosts.yml").write_text(json.dumps(hosts))
    (folder / "ansible.cfg").write_text(
        "[defaults]\nretry_files_enabled = False\n[ssh_connection]\npipelining = True\n"
        "ssh_args = -o ControlMaster=auto -o ControlPersist=60s"
        f" -o UserKnownHostsFile={login.known} -o KexAlgorithms=curve25519-sha256\n"
        f"control_path_dir = {folder}/cp\n"
    )
    words = [str(login.programs / "ansible-playbook"), "-i", "hosts.yml", "play.yml"]
    env = environment(login, ANSIBLE_CONFIG=str(folder / "ansible.cfg"))
    return Command(words, env, folder)


def pyinfra(login: Login, lines: Sequence[str]) -> Command:
    """Return what has pyinfra do the *lines* of a `deploy.py`."""
    words = {
        "ssh_port": login.port,
        "ssh_user": "deploy",
        "ssh_key": str(login.host.identity),
        "ssh_known_hosts_file": str(login.known),
    }
    (login.folder / "inventory.py").write_text(INVENTORY.format(words=words))
    (login.folder / "deploy.py").write_text("\n".join(lines) + "\n")
    command = [str(login.programs / "pyinfra"), "--yes", "inventory.py", "deploy.py"]
    return Command(command, environment(login), login.folder)


def environment(login: Login, **more: str) -> dict[str, str]:
    """Return the environment of a peer, which finds the others and no settings of a user."""
    path = f"{login.programs}:{os.environ['PATH']}"
    return {**ENVIRONMENT, "HOME": str(login.folder), "PATH": path, "LC_ALL": "C.UTF-8", **more}
