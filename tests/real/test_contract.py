"""The built-in stages against the contract, on a real OpenSSH server."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit import Environment, Pipeline
from deploykit import Host as Target
from deploykit.stage import AnyStage
from deploykit.stages import Install, Local, Shell, Transfer
from deploykit.testing import Bench, StageContract
from tests.farm import Host

# What may stay after an undo: the journal, the release marked bad, backups.
EVERYTHING_ELSE = (
    "cd /srv/shop && find . -path ./.deploykit -prune -o -path './releases/*' -prune -o "
    "-path './backups/*' -prune -o -printf '%p %M %l\\n' | sort; ls -A releases | grep '^[.]' || :"
)


def bench(host: Host, project: Path, *stages: AnyStage, stage: str) -> Bench:
    """Return a bench for *stage* on *host*, with a source tree to send."""
    (project / "app").mkdir(parents=True, exist_ok=True)
    (project / "app" / "main.py").write_text("print('hello')\n")
    host.root("install -d -o deploy -g deploy /srv/shop")
    host.root("runuser -u deploy -- mkdir -p /srv/shop/releases /srv/shop/shared /srv/shop/backups")
    target = Target(
        host.ip, user="deploy", identity=str(host.identity), host_key=host.host_key, name=host.name
    )
    environment = Environment(
        Pipeline(app="shop", root="/srv/shop", stages=stages),
        hosts=[target],
        name="production",
        project=project,
    )
    return Bench(environment, stage, lambda: host.root(EVERYTHING_ELSE).stdout)


class TestTransfer(StageContract):
    """`Transfer` against the contract."""

    @pytest.fixture
    def bench(self, host: Host, tmp_path: Path) -> Bench:
        """Return the bench."""
        return bench(host, tmp_path, Transfer("app", shared=["media/deep/"]), stage="transfer")


class TestInstall(StageContract):
    """`Install` against the contract."""

    @pytest.fixture
    def bench(self, host: Host, tmp_path: Path) -> Bench:
        """Return the bench."""
        return bench(host, tmp_path, Transfer("app"), Install("touch made"), stage="install")


class TestShell(StageContract):
    """`Shell` against the contract: our part of it, the user's `undo=` being his."""

    @pytest.fixture
    def bench(self, host: Host, tmp_path: Path) -> Bench:
        """Return the bench."""
        shell = Shell(
            "mark",
            do="echo once >> /srv/shop/mark",
            undo="rm -f /srv/shop/mark",
        )
        return bench(host, tmp_path, Transfer("app"), shell, stage="mark")


class TestLocal(StageContract):
    """`Local` against the contract: built here, so that nothing on a host ever changes."""

    @pytest.fixture
    def bench(self, host: Host, tmp_path: Path) -> Bench:
        """Return the bench."""
        return bench(host, tmp_path, Local("date > app/built"), Transfer("app"), stage="local")
