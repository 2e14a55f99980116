"""A release of the scheduler, checked out and running, and the forms that people fill in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from deploykit.demo.scheduler import check_out
from tests.farm.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LATER = "2199-01-31T09:00"
LONG_AGO = "2001-01-31T09:00"


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Tree:
    """A work tree of the scheduler at one of its releases, and a database."""

    path: Path
    release: str
    database: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the application asks for, added to ours."""
        return {**os.environ, "DATABASE_URL": f"sqlite:///{self.database}"}

    def run(self, *arguments: str) -> str:
        """Run Python on the tree, and return what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def migrate(self, command: str, revision: str) -> None:
        """Run Alembic: `upgrade` or `downgrade`."""
        self.run("-m", "alembic.config", command, revision)

    @contextmanager
    def running(self, module: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a module of the application, and end it with the block."""
        with subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=self.path,
            env={**self.environment, **variables},
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)

    @contextmanager
    def serving(self) -> Iterator[httpx.Client]:
        """Serve the website, and yield a client of it."""
        port = free_port()
        with (
            self.running("scheduler.app", PORT=str(port)),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):
            eventually(lambda: client.get("/healthz").is_success, failing=httpx.TransportError)
            yield client


def checked_out(release: str, directory: Path, database: Path) -> Tree:
    """Check a release out below *directory*."""
    path = directory / release
    check_out(release, path)
    return Tree(path, release, database)


def post_fields(release: str, body: str, *, due: str = LATER) -> dict[str, Any]:
    """Return what a person types into the form for a post, which v2 has changed."""
    fields: dict[str, Any] = {"account": 1, "networks": ["bluesky", "mastodon"], "due_at": due}
    if release == "v1":
        return {**fields, "body": body}
    title, _, text = body.partition("\n")
    return {**fields, "title": title, "text": text}
