"""The contract of stages on a real host with SFTP and no shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploykit import Environment, Pipeline
from deploykit.stages import Publish, Transfer
from deploykit.testing import Bench, StageContract
from tests.farm import Host
from tests.farm.chrooted import HOME, USER, chrooted
from tests.transport.links import target

# Everything but what may stay: the journal, releases marked bad, and what comes with them.
LOOK = f"""
cd {HOME}/site
find . -path './.deploykit' -prune -o -path './releases/2*' -prune \
  -o -printf '%p %y %m %l\\n' | sort
cat public_html/index.html 2>/dev/null || :
"""


@pytest.fixture
def make(host: Host, tmp_path: Path) -> Callable[[str], Bench]:
    """Return a function that makes the bench of a stage."""
    chrooted(host)
    # What the first deploy makes, and every undo leaves.
    host.root(f"cd {HOME}/site; install -d -o {USER} releases; install -d -m 2770 -o {USER} shared")
    (tmp_path / "public" / "css").mkdir(parents=True)
    (tmp_path / "public" / "index.html").write_text("new")
    (tmp_path / "public" / "css" / "site.css").write_text("body {}")
    (tmp_path / "public" / "latest").symlink_to("css/site.css")

    def made(stage: str) -> Bench:
        pipeline = Pipeline(
            app="site",
            root="/site",
            stages=[
                Transfer("public", shared=["uploads/", "a/b/"]),
                Publish(link="public_html"),
            ],
        )
        aim = target(host, user=USER, shell=False)
        environment = Environment(pipeline, hosts=[aim], name="production", project=tmp_path)
        return Bench(environment, stage, snapshot=lambda: host.root(LOOK).stdout)

    return made


class TestTransfer(StageContract):
    """Nothing is left of a release that is undone, but a whole one."""

    @pytest.fixture
    def bench(self, make: Callable[[str], Bench]) -> Bench:
        """Return the stage that sends."""
        return make("transfer")


class TestPublish(StageContract):
    """The link comes back."""

    @pytest.fixture
    def bench(self, make: Callable[[str], Bench]) -> Bench:
        """Return the stage that moves the link, where nothing was published."""
        return make("publish")


class TestPublishOverAFolder(StageContract):
    """The folder comes back."""

    @pytest.fixture
    def bench(self, make: Callable[[str], Bench], host: Host) -> Bench:
        """Return the stage that moves the link, where a folder stands."""
        bench = make("publish")
        site = f"{HOME}/site"
        host.root(f"mkdir {site}/public_html; echo old >{site}/public_html/index.html")
        host.root(f"chown -R {USER} {site}/public_html")
        return bench
