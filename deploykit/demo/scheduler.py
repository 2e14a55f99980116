"""The scheduler's project: its releases as work trees, and what its host must know of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploykit.demo.host import DemoHost
    from deploykit.demo.server import DemoServer

__all__ = ["RELEASES", "check_out", "deploy_variables", "dotenv", "find_project", "programs"]

RELEASES = ("v1", "v2", "v3")
"""In their order; each is kept as the files that it changes in those before it."""

DATABASE = "shared/scheduler.sqlite3"
USUAL_ROOT = "/srv/scheduler"


def find_project() -> Path:
    """
    Return the folder of the scheduler: beside this file once installed, else in the checkout.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    here = Path(__file__).resolve()
    places = (here.parent / "pipelines" / "scheduler", here.parents[2] / "pipelines" / "scheduler")
    for place in places:
        if (place / "deploy.py").is_file():
            return place
    raise FileNotFoundError(f"the demo's project is missing: {places[0]}")


def check_out(release: str, into: Path) -> None:
    """
    Bring the work tree *into* to a release, as `git checkout` would.

    Args:
        release: one of `RELEASES`.
        into: the work tree; made where it is missing, emptied where it is not.

    Raises:
        ValueError: there is no such release.
    """
    if release not in RELEASES:
        raise ValueError(f"no release {release!r}: there are {', '.join(RELEASES)}")
    project = find_project()
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    shutil.copy2(project / "deploy.py", into)
    for name in RELEASES[: RELEASES.index(release) + 1]:
        shutil.copytree(
            project / "releases" / name,
            into,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )


def programs(host: DemoHost) -> str:
    """Return the sections that make *host*'s supervisord run the scheduler's services."""
    text = (find_project() / "supervisor.conf").read_text()
    root = str(host.root).replace("%", "%%")
    # This supervisord is started before the first deploy, when there is nothing to run yet.
    return text.replace(USUAL_ROOT, root).replace("autostart=true", "autostart=false")


def dotenv(host: DemoHost, port: int) -> str:
    """Return the `shared/.env` of the scheduler on *host*, with the website on *port*."""
    return f"DATABASE_URL=sqlite:///{host.root / DATABASE}\nPORT={port}\n"


def deploy_variables(server: DemoServer, port: int) -> dict[str, str]:
    """Return the variables by which `deploy.py` finds *server*, and the website on *port*."""
    return {
        "DEMO_ADDRESS": server.address,
        "DEMO_PORT": str(server.port),
        "DEMO_USER": server.user,
        "DEMO_IDENTITY": str(server.identity),
        "DEMO_HOST_KEY": server.host_key,
        "DEMO_ROOT": str(server.host.root),
        "DEMO_URL": f"http://{server.address}:{port}",
    }
