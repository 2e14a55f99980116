"""The demo's story: two releases go well, the third is broken and undoes itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
from rich.console import Console

from deploykit.demo.scheduler import check_out, deploy_variables, dotenv, programs
from deploykit.demo.server import DemoServer
from deploykit.demo.services import DemoServices

__all__ = ["show"]

LATER = "2199-01-31T09:00"
POSTS = (
    ("Opening hours", "We open at nine from Monday on.", ["mastodon", "bluesky"]),
    ("New bread", "Rye, with caraway. Come and taste it!", ["mastodon"]),
)
WRITTEN_THROUGH_V2 = ("Closed on Friday", "We are at the fair.", ["linkedin"])
FAILED = 1  # the exit code of a run that was undone (DESIGN: "A run")


class Stopped(BaseException):
    """SIGTERM or SIGHUP came: everything is to be taken away as after Ctrl-C."""


@dataclass(frozen=True)
class Stage:
    """
    Where the story plays.

    Args:
        project: the work tree that is deployed.
        variables: the environment of `deploykit`, by which deploy.py finds the server.
        url: where the website is served.
        console: where the story is told.
    """

    project: Path
    variables: dict[str, str]
    url: str
    console: Console

    def say(self, text: str) -> None:
        """Tell what comes next."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def deploykit(self, *words: str, expected: int = 0) -> None:
        """
        Run `deploykit` as a person would, on this terminal.

        Raises:
            RuntimeError: it ended with another exit code than the story needs.
        """
        self.console.print(f"[dim]$ deploykit {' '.join(words)}[/dim]")
        done = subprocess.run(
            [sys.executable, "-m", "deploykit", *words],
            cwd=self.project,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != expected:
            raise RuntimeError(
                f"deploykit {' '.join(words)} ended with {done.returncode}, not {expected}"
            )

    def release(self, name: str) -> None:
        """Make the work tree that of release *name*."""
        check_out(name, self.project)

    def write(self, title: str, text: str, networks: list[str], *, body: bool) -> None:
        """Fill in the website's form; *body* is what v1 called title and text."""
        fields = {"body": f"{title}\n{text}"} if body else {"title": title, "text": text}
        form: dict[str, Any] = {"account": "1", "networks": networks, "due_at": LATER, **fields}
        self._post("/posts", form)

    def open_account(self) -> None:
        """Make the account that posts belong to."""
        self._post("/accounts", {"name": "The bakery"})

    def rows(self) -> list[dict[str, Any]]:
        """Return every post, as the website exports them."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/export.json").raise_for_status().json()
        return found

    def health(self) -> dict[str, str]:
        """Return what the website says of itself."""
        found: dict[str, str] = httpx.get(f"{self.url}/healthz").raise_for_status().json()
        return found

    def _post(self, page: str, form: dict[str, Any]) -> None:
        answer = httpx.post(f"{self.url}{page}", data=form)
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise RuntimeError(f"{page} answered {answer.status_code} to a good form")


def show() -> int:
    """
    Tell the story on this terminal.

    Returns:
        0 if it ended as it should: v2 is back, with every row.
    """
    began = time.monotonic()
    console = Console(highlight=False)
    try:
        with _signals_raise(), _stage(console) as stage:
            return _tell(stage, began)
    except (KeyboardInterrupt, Stopped):
        console.print("\nstopped; nothing is left behind")
        return 130
    except RuntimeError as error:
        console.print(f"\n[red]the demo failed:[/red] {error}")
        return FAILED


def _tell(stage: Stage, began: float) -> int:
    stage.say("A throw-away server is up. First its settings, then the first release:")
    stage.deploykit("shared", "put", "demo", "../server.env", ".env")
    stage.deploykit("run", "demo")

    stage.open_account()
    for title, text, networks in POSTS:
        stage.write(title, text, networks, body=True)
    stage.say(f"{len(POSTS)} posts were written through v1. v2 rewrites them in the database:")
    stage.release("v2")
    stage.deploykit("run", "demo")

    title, text, networks = WRITTEN_THROUGH_V2
    stage.write(title, text, networks, body=False)
    before, healthy = stage.rows(), stage.health()
    stage.say(
        f"Another was written through v2: {len(before)} in all. "
        "v3 has a typo that one page shows, and a migration of its own:"
    )
    stage.release("v3")
    stage.deploykit("run", "demo", expected=FAILED)

    stage.say("The same push again:")
    stage.deploykit("run", "demo", expected=5)
    return _compare(stage, before, healthy, began)


def _compare(
    stage: Stage, before: list[dict[str, Any]], healthy: dict[str, str], began: float
) -> int:
    after, now = stage.rows(), stage.health()
    stage.say("What is there now:")
    stage.deploykit("status", "demo")
    for row in after:
        stage.console.print(f"  post {row['id']}: {row['body'].splitlines()[0]}")
    if after != before or now != healthy:
        stage.console.print(f"[red]not as before:[/red] {now}, was {healthy}")
        return FAILED
    took = time.monotonic() - began
    stage.console.print(
        f"\n[green]v2 is back, at schema {now['schema']}, with all {len(after)} posts.[/green] "
        f"The whole took {took:.0f} s; nothing of it is left on this machine."
    )
    return 0


@contextmanager
def _stage(console: Console) -> Iterator[Stage]:
    """Set the stage up in a temporary folder, and take everything away in the end."""
    with tempfile.TemporaryDirectory(prefix="deploykit-demo-") as folder:
        home, vps = Path(folder) / "home", Path(folder) / "vps"
        project = Path(folder) / "project"
        home.mkdir()
        vps.mkdir()
        port = _free_port()
        with (
            DemoServer(vps) as server,
            DemoServices(server.host, programs(server.host)),
        ):
            check_out("v1", project)
            (Path(folder) / "server.env").write_text(dotenv(server.host, port))
            variables = {
                **os.environ,
                **deploy_variables(server, port),
                "XDG_STATE_HOME": str(home),
                "PYTHONPATH": os.pathsep.join(sys.path),
            }
            yield Stage(project, variables, f"http://{server.address}:{port}", console)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo in order, as Ctrl-C does."""
    names = (name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
    numbers = [getattr(signal, name) for name in names]
    old = {number: signal.signal(number, _stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
