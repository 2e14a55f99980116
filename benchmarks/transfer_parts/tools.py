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
from deploykit.transport.ssh.connecting import CIPHERS
from tests.farm import Host
from tests.farm.chrooted import HOME, USER, chrooted

__all__ = ["ALONE", "CAT", "FULL", "OURS", "PEERS", "PLACE", "SERIES", "Took", "Tools", "prepare"]

PLACE = "/mnt"  # on the host: a tmpfs
SITE = f"{HOME}/site"  # another, in which `USER` may write by SFTP
OURS = "deploykit"
ALONE = "deploykit, SFTP alone"
SERIES = {OURS: ("shell", f"{PLACE}/ours"), ALONE: ("alone", f"{SITE}/ours")}
"""By name: its environment in `deploy.py`, and its root as the host's own root sees it."""

CAT = "ssh cat"
PEERS = {
    "rsync -a": "rsync -a {link} -e {ssh} {source}/ {to}:{new}/",
    "rsync -az": "rsync -az {link} -e {ssh} {source}/ {to}:{new}/",
    "tar|zstd|ssh": "tar -C {source} -cf - . | zstd -q | "
    "{raw} {to} 'mkdir {new} && zstd -dc | tar -C {new} -xf -'",
    "scp -r": "scp -rpq {options} {source} {to}:{new}",
    "sftp put -r": "echo 'put -rp {source}/. {new}' | sftp -b - -q {options} {to}",
    CAT: "{raw} {to} 'cat > {new}' < {source}/huge",
}
FULL = ("tar|zstd|ssh", "scp -r", "sftp put -r", CAT)  # they send everything every time
WITHIN = 600  # seconds
DEPLOY = """
from deploykit import Environment, Host, Pipeline
from deploykit.stages import Publish, Transfer

def sent(root, host):
    pipeline = Pipeline(app="bench", root=root, stages=[Transfer("tree"), Publish()])
    return Environment(pipeline, hosts=[Host(**host)])

shell = sent({root!r}, {host!r})
alone = sent("/site/ours", {host!r} | {{"user": {user!r}, "shell": False}})
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
        self.host, self.port = host, port
        self.project, self.source = project, project / "tree"
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
        declared = DEPLOY.format(root=SERIES[OURS][1], host=target, user=USER)
        (project / "deploy.py").write_text(declared)

    def forget(self) -> None:
        """Have the host forget everything that was sent."""
        self.host.root(f"chmod -R u+w {PLACE} {SITE}; rm -rf {PLACE}/* {SITE}/*")

    def ours(self, series: str) -> Took:
        """
        Have deploykit deploy the tree, and compare what is there then with what was sent.

        Args:
            series: one of `SERIES`.
        """
        environment, root = SERIES[series]
        words = [sys.executable, "-m", "deploykit", "run", environment]
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
            raise SystemExit(f"{series} failed:\n" + "".join(lines))
        told = [json.loads(line) for line in lines if line.startswith("{")]
        (stage,) = (
            one["took"]
            for one in told
            if (one["event"], one.get("stage")) == ("stage_applied", "transfer")
        )
        self._compare(f"{root}/current/")
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

    def peer(self, name: str, number: int, *, keep: bool) -> Took:
        """
        Have a peer send the tree, once by a connection of its own and once by an open one.

        Args:
            name: one of `PEERS`.
            number: of the upload: the one before is there to be linked from.
            keep: the next one links from it.
        """
        # What it is there for is the rate of deploykit's own cipher.
        options = f"{self._options} -o Ciphers={CIPHERS[0]}" if name == CAT else self._options
        keep = keep and name not in FULL
        whole = self._peer(name, number, "whole", options, keep=keep)
        with self._open(options):
            shared = f"{options} -o ControlPath={self._control}"
            return Took(whole, self._peer(name, number, "stage", shared, keep=keep))

    def _peer(self, name: str, number: int, clock: str, options: str, *, keep: bool) -> float:
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
        if not keep:
            self.host.root(f"rm -rf {place}{number}")
        return took

    @contextmanager
    def _open(self, options: str) -> Iterator[None]:
        ssh = f"ssh {options} -o ControlPath={self._control}"
        subprocess.run(f"{ssh} -M -f -N {self._to}", shell=True, check=True)
        try:
            yield
        finally:
            subprocess.run(f"{ssh} -O exit {self._to}", shell=True, capture_output=True, check=True)


def prepare(host: Host) -> None:
    """Give *host* both users, and the memory that they write to."""
    chrooted(host)
    host.root(
        f"""
        mount -t tmpfs -o size=8G,mode=777 tmpfs {PLACE}
        mount -t tmpfs -o size=5G,uid={USER},gid={USER} tmpfs {SITE}
        """
    )
