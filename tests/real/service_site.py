"""A web page under systemd that answers which release it runs, for tests of services."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit import Environment, Pipeline
from deploykit import Host as Target
from deploykit.stage import AnyStage
from deploykit.stages import Transfer
from tests.farm import Host, eventually

PORT = 8000
ROOT = "/srv/shop"

# `mode` says how a release behaves; it is a file, because a release is nothing but its files.
APP = """
import http.server, os, sys, time

mode = open("mode").read().strip()
if mode == "crash":
    sys.exit("no such table: notes")
if mode == "crash-late":
    time.sleep(0.5)
    sys.exit(3)
release = os.path.basename(os.getcwd())

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(release.encode())

    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True

Server(("0.0.0.0", int(sys.argv[1])), Page).serve_forever()
"""

# A master that forks one worker, and on HUP takes up what `current` points to with a new one.
MASTER = """
import os, signal, sys

def start():
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.chdir("/srv/shop/current")
        os.execv(sys.executable, [sys.executable, "app.py", sys.argv[1]])
    return worker

def reload(*_):
    global worker
    os.kill(worker, signal.SIGTERM)
    os.waitpid(worker, 0)
    worker = start()

signal.signal(signal.SIGHUP, reload)
worker = start()
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
while True:
    signal.pause()
"""

UNIT = """
[Unit]
Description=The shop
[Service]
User={user}
WorkingDirectory=-/srv/shop/current
ExecStart=/usr/bin/python3 app.py {port}
{more}
"""

VERBS = ("restart", "start", "stop", "reset-failed")


@dataclass
class Site:
    """A host with a root to deploy to, and a source tree to deploy."""

    host: Host
    project: Path

    def source(self, mode: str = "fine") -> None:
        """Make the source tree one whose release behaves as *mode* says."""
        folder = self.project / "app"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "app.py").write_text(APP)
        (folder / "master.py").write_text(MASTER)
        (folder / "mode").write_text(f"{mode}\n")

    def environment(self, *stages: AnyStage, **options: Any) -> Environment:
        """Return an environment that transfers the source tree and then does *stages*."""
        host = self.host
        target = Target(
            host.ip,
            **{
                "user": "deploy",
                "identity": str(host.identity),
                "host_key": host.host_key,
                "name": host.name,
                **options,
            },
        )
        pipeline = Pipeline(app="shop", root=ROOT, stages=[Transfer("app"), *stages])
        return Environment(pipeline, hosts=[target], name="production", project=self.project)

    def unit(
        self, name: str = "shop.service", user: str = "app", more: str = "", port: int = PORT
    ) -> None:
        """Write a unit that serves the published release, and start over with its failures."""
        self.host.root(f"systemctl stop {name}; systemctl reset-failed {name}; :", check=False)
        self.host.unit(name, UNIT.format(user=user, more=more, port=port))

    def allow(self, *verbs: str, unit: str = "shop.service") -> None:
        """Let the deploy user do *verbs* to *unit*, and nothing else."""
        rules = [f"deploy ALL=(root) NOPASSWD: /usr/bin/systemctl {v} {unit}" for v in verbs]
        self.host.sudoers("\n".join(rules))

    def page(self, port: int = PORT) -> str:
        """Return what the page answers: the release; empty if nothing answers."""
        try:
            with urllib.request.urlopen(f"http://{self.host.ip}:{port}/", timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            return ""

    def serves(self, release: str) -> bool:
        """Wait until the page answers *release*: a server that was just started listens later."""
        return eventually(lambda: self.page() == release, message=f"{release} serves")

    def current(self) -> str:
        """Return where `current` points; empty if there is none."""
        return self.host.root(f"readlink {ROOT}/current || :").stdout.strip()

    def state(self, unit: str = "shop.service") -> str:
        """Return whether systemd has the unit as active, inactive or failed."""
        return self.host.root(f"systemctl is-active {unit}", check=False).stdout.strip()

    def main(self, unit: str = "shop.service") -> str:
        """Return the id of the unit's main process."""
        return self.host.root(f"systemctl show -p MainPID --value {unit}").stdout.strip()


def fresh_site(host: Host, project: Path) -> Site:
    """Empty the root on *host*, and return the site with its first source tree."""
    stop = "systemctl stop 'shop*.service' 'shop*.socket' 2>/dev/null"
    host.root(f"{stop}; rm -rf {ROOT}; rm -f /etc/systemd/system/shop*; systemctl daemon-reload")
    host.root(f"install -d -o deploy -g deploy {ROOT}; rm -f /etc/sudoers.d/*")
    site = Site(host, project)
    site.source()
    return site
