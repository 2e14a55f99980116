"""Runs over a real OpenSSH server, from the first deploy to the rollback."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploykit import Environment, Pipeline
from deploykit import Host as Target
from deploykit.engine import api
from deploykit.engine.outcome import RunResult
from deploykit.errors import HostKeyRefused, LockHeld
from deploykit.stage import AnyStage
from deploykit.stages import Install, Shell, Transfer
from tests.farm import Host, eventually

Make = Callable[..., Environment]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a small source tree with awkward names."""
    folder = tmp_path / "project"
    (folder / "app" / "deep").mkdir(parents=True)
    (folder / "app" / "main.py").write_text("print('hello')\n")
    (folder / "app" / "empty").write_bytes(b"")
    (folder / "app" / "deep" / "it's a\nname – ü").write_text("x")
    (folder / "app" / "-dash").write_text("x")
    (folder / "app" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "app" / "run.sh").chmod(0o755)
    (folder / "app" / "link").symlink_to("main.py")
    return folder


@pytest.fixture
def environment(host: Host, project: Path) -> Make:
    """Return a function that makes an environment of the given stages on one real host."""
    host.root("rm -rf /srv/shop && install -d -o deploy -g deploy /srv/shop")

    def make(*stages: AnyStage, **options: Any) -> Environment:
        pipeline = Pipeline(app="shop", root="/srv/shop", stages=stages, **options)
        return Environment(pipeline, hosts=[target(host)], name="production", project=project)

    return make


def target(host: Host, **options: Any) -> Target:
    """Return the deploykit host for a host of the test bed."""
    known = {"host_key": host.host_key, "identity": str(host.identity), "user": "deploy"}
    return Target(host.ip, **{**known, "name": host.name, **options})


def test_a_release_arrives_whole(environment: Make, host: Host) -> None:
    """Every file has its content, its mode and its name, and nothing half-made is left."""
    result = environment(Transfer("app", shared=["media/"]), Install("ls > listing")).run()
    assert result.exit_code == 0, result.error
    release = f"/srv/shop/releases/{result.release}"
    assert host.read(f"{release}/main.py") == "print('hello')\n"
    assert host.root(f"stat -c %a {release}/run.sh").stdout.strip() == "755"
    assert host.root(f"readlink {release}/link").stdout.strip() == "main.py"
    assert host.root(f"cat {release}/deep/it*").stdout == "x"
    assert host.root(f"stat -c %s {release}/empty").stdout.strip() == "0"
    assert host.root(f"readlink {release}/media").stdout.strip() == "../../shared/media"
    assert host.root("ls -A /srv/shop/releases").stdout.split() == [result.release]
    assert "main.py" in host.read(f"{release}/listing")


def test_a_failure_undoes_everything(environment: Make, host: Host) -> None:
    """What earlier stages did is undone, the lock is free, and the exit code says so."""
    result = environment(
        Transfer("app"),
        Shell("mark", do="touch /srv/shop/mark", undo="rm -f /srv/shop/mark"),
        Shell("break", do="echo broken >&2; exit 7", undo="touch /srv/shop/tried"),
    ).run()
    assert (result.exit_code, result.state) == (1, "rolled_back")
    assert "broken" in str(result.error)
    assert not host.exists("/srv/shop/mark")
    assert host.exists("/srv/shop/tried")
    assert api.lock_status(environment(Transfer("app"))) is None


def test_an_unknown_host_key_is_refused(host: Host, project: Path) -> None:
    """A host whose key nobody vouched for is never spoken to, and the way out is named."""
    pipeline = Pipeline(app="shop", root="/srv/shop", stages=[Transfer("app")])
    stranger = Environment(
        pipeline, hosts=[target(host, host_key=None)], name="production", project=project
    )
    with pytest.raises(HostKeyRefused, match="deploykit trust") as refused:
        stranger.run()
    assert refused.value.exit_code == 2


def test_a_lock_taken_by_hand_keeps_runs_out(environment: Make) -> None:
    """A second operator is told who holds the lock and why, and frees nothing of it."""
    shop = environment(Transfer("app"))
    api.lock_acquire(shop, "the database moves tonight")
    with pytest.raises(LockHeld, match="the database moves tonight"):
        shop.run()
    owner = api.lock_status(shop)
    assert owner is not None
    assert owner.reason == "the database moves tonight"
    api.lock_release(shop)
    assert shop.run().ok


def test_a_rollback_by_hand_undoes_the_newest_run(environment: Make, host: Host) -> None:
    """What the newest run did is undone, and pushing the same content again is refused."""
    shop = environment(
        Transfer("app"), Shell("mark", do="touch /srv/shop/mark", undo="rm -f /srv/shop/mark")
    )
    assert shop.run().ok
    assert host.exists("/srv/shop/mark")
    assert shop.rollback().exit_code == 0
    assert not host.exists("/srv/shop/mark")
    with pytest.raises(Exception, match="rolled back before"):
        shop.run()
    assert shop.run(again=True).ok


def test_a_plan_touches_nothing(environment: Make, host: Host) -> None:
    """A dry run asks the host real questions and leaves no trace on it."""
    before = host.root("find /srv/shop | sort").stdout
    plan = environment(Transfer("app"), Shell("mark", do="touch /srv/shop/mark")).plan()
    assert [stage.name for stage in plan.stages] == ["transfer", "mark"]
    assert host.root("find /srv/shop | sort").stdout == before


@pytest.mark.parametrize("again", [True, False])
def test_a_reboot_in_the_middle_of_a_command(
    environment: Make, fresh_host: Host, again: bool
) -> None:
    """It ended with the host, and not by itself: it is torn, and done again only if it may be."""
    fresh_host.root("rm -rf /srv/shop && install -d -o deploy -g deploy /srv/shop")
    do = (
        "echo x >>/srv/shop/count; [ -e /srv/shop/second ] || { touch /srv/shop/second; sleep 60; }"
    )
    production = replace(
        environment(Shell("slow", do=do, again=again)), hosts=(target(fresh_host),)
    )
    results: list[RunResult] = []
    running = threading.Thread(target=lambda: results.append(production.run()))
    running.start()
    eventually(lambda: fresh_host.exists("/srv/shop/second"))
    fresh_host.reboot()
    running.join(120)
    (result,) = results
    assert result.ok == again, result.error
    if not again:
        assert "was cut short when the host died" in str(result.error)
    assert fresh_host.read("/srv/shop/count") == "x\n" * (2 if again else 1)
