"""deploykit and the others, each bringing a tree to the host by its own command."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.transfer_parts.trees import seen
from tests.farm import Host

__all__ = ["FULL", "OURS", "PEERS", "PLACE", "Took", "Tools"]

PLACE = "/mnt"  # on the host: a tmpfs
OURS = "deploykit"
PEERS = {
    "rsync -a": "rsync -a {link} -e {ssh} {source}/ {to}:{new}/",
    "rsync -az": "rsync -az {link} -e {ssh} {source}/ {to}:{new}/",
    "tar|zstd|ssh": "tar -C {source} -cf - . | zstd -q | "
    "{raw} {to} 'mkdir {new} && zstd -dc | tar -C {new} -xf -'",
    "scp -r": "scp -rpq {options} {source} {to}:{new}",
    "sftp put -r": "echo 'put -rp {source}/. {new}' | sftp -b - -q {options} {to}",
}
FULL = ("tar|zstd|ssh", "scp -r", "sftp put -r")  # they send everything every time
WITHIN = 600  # seconds
DEPLOY = """
from deploykit import Environment, Host, Pipeline
from deploykit.stages import Publish, Transfer

pipeline = Pipeline(app="bench", root={root!r}, stages=[Transfer("tree"), Publish()])
production = Environment(pipeline, hosts=[Host(**{host!r})])
"""
LOOK = "cd {0} && find . -mindepth 1 \\( -type f -o -type d \\) -printf '%m\\t%y\\t%P\\n'"


@dataclass(frozen=True)
class Took:
    """
    What an upload took.

    Args:
        whole: seconds of the whole command, from its start without a connection.
        stage: seconds over a connection that is open already.
        memory: the most bytes that the command's process had; 0 if not known.
    """

    whole: float
    stage: float
    memory: int = 0


class Tools:
    """
    What sends a tree.

    Args:
        host: where to.
        port: of this machine, that leads to it.
        project: a folder that contains `tree`.
        folder: for what the tools keep.
    """

    def __init__(self, host: Host, port: int, project: Path, folder: Path) -> None:
        self.host, self.project, self.source = host, project, project / "tree"
        self._to = "deploy@127.0.0.1"
        known = folder / f"known-{port}"
        known.write_text(f"[127.0.0.1]:{port} {host.host_key}\n")
        self._options = (
            f"-o Port={port} -o IdentityFile={host.identity} -o IdentitiesOnly=yes "
            f"-o UserKnownHostsFile={known} -o BatchMode=yes"
        )
        self._control = folder / f"cp-{port}"
        target = {
            "address": "127.0.0.1",
            "port": port,
            "user": "deploy",
            "identity": str(host.identity),
            "host_key": host.host_key,
            "name": "bench",
        }
        (project / "deploy.py").write_text(DEPLOY.format(root=f"{PLACE}/ours", host=target))

    def forget(self) -> None:
        """Have the host forget everything that was sent."""
        self.host.root(f"chmod -R u+w {PLACE}; rm -rf {PLACE}/*; chmod 777 {PLACE}")

    def ours(self) -> Took:
        """Have deploykit deploy the tree, and compare what is there then with what was sent."""
        words = [sys.executable, "-m", "deploykit", "run", "production"]
        words += ["--again", "--log-format", "json"]
        began = time.monotonic()
        with subprocess.Popen(
            words, cwd=self.project, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr
            lines = process.stderr.readlines()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        whole = time.monotonic() - began
        if process.returncode != 0:
            raise SystemExit("deploykit failed:\n" + "".join(lines))
        told = [json.loads(line) for line in lines if line.startswith("{")]
        (stage,) = (
            one["took"]
            for one in told
            if (one["event"], one.get("stage")) == ("stage_applied", "transfer")
        )
        self._compare(f"{PLACE}/ours/current/")
        return Took(whole, stage, used.ru_maxrss * 1024)

    def _compare(self, folder: str) -> None:
        sums = self.host.root(f"cd {folder} && find . -type f -exec sha256sum -z {{}} +").stdout
        digests = {line[68:]: line[:64] for line in sums.split("\0") if line}
        there = set()
        for line in self.host.root(LOOK.format(folder)).stdout.splitlines():
            mode, _, path = line.split("\t")
            there.add(f"{mode} {digests.get(path, '')} {path}")
        if there != seen(self.source):
            raise SystemExit(f"{folder} is not what was sent")

    def peer(self, name: str, number: int) -> Took:
        """
        Have a peer send the tree, once by a connection of its own and once by an open one.

        Args:
            name: one of `PEERS`.
            number: of the upload: the one before is there to be linked from.
        """
        whole = self._peer(name, number, "whole", self._options)
        with self._open():
            shared = f"{self._options} -o ControlPath={self._control}"
            return Took(whole, self._peer(name, number, "stage", shared))

    def _peer(self, name: str, number: int, clock: str, options: str) -> float:
        place = f"{PLACE}/{name.replace(' ', '').replace('|', '')}-{clock}"
        link = f"--link-dest={place}{number - 1}" if number else ""
        command = PEERS[name].format(
            link=link,
            options=options,
            ssh=shlex.quote(f"ssh {options}"),
            raw=f"ssh {options}",
            source=self.source,
            to=self._to,
            new=f"{place}{number}",
        )
        if name.startswith("sftp"):
            self.host.root(f"install -d -o deploy {place}{number}")
        began = time.monotonic()
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=WITHIN, check=False
        )
        took = time.monotonic() - began
        if done.returncode != 0:
            raise SystemExit(f"{name} failed:\n{command}\n{done.stderr}")
        if name in FULL:
            self.host.root(f"rm -rf {place}{number}")
        return took

    @contextmanager
    def _open(self) -> Iterator[None]:
        ssh = f"ssh {self._options} -o ControlPath={self._control}"
        subprocess.run(f"{ssh} -M -f -N {self._to}", shell=True, check=True)
        try:
            yield
        finally:
            subprocess.run(f"{ssh} -O exit {self._to}", shell=True, capture_output=True, check=True)
