"""What people and the world get wrong, on a real host: a clear error, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploykit import Environment, Pipeline
from deploykit import Host as Target
from deploykit.engine import api
from deploykit.engine.events import Event
from deploykit.errors import ConfigurationError, LockHeld, Refused, TransportError
from deploykit.stage import AnyStage
from deploykit.stages import Shell, Transfer
from tests.farm import Host, Hosts, eventually

REPOSITORY = Path(__file__).parents[2]
ROOT = "/srv/shop"
LOG = "/srv/shop/log"
DO, UNDO = f"echo do >>{LOG}", f"echo undo >>{LOG}"
MARK = f"Shell('mark', do='{DO}', undo='{UNDO}')"


@dataclass
class Shop:
    """An application's project on this machine, and its host."""

    host: Host
    project: Path

    def environment(self, *stages: AnyStage, **options: Any) -> Environment:
        """Return an environment of *stages* on the host."""
        target = Target(
            self.host.ip,
            user="deploy",
            name=self.host.name,
            identity=str(self.host.identity),
            host_key=self.host.host_key,
        )
        pipeline = Pipeline(**{"app": "shop", "root": ROOT, "stages": stages, **options})
        return Environment(pipeline, hosts=[target], name="production", project=self.project)

    def declare(self, stages: str) -> None:
        """Write a `deploy.py` with *stages*, Python text."""
        (self.project / "deploy.py").write_text(
            "from deploykit import Environment, Host, Pipeline\n"
            "from deploykit.stages import *\n"
            f"stages = [{stages}]\n"
            f"pipeline = Pipeline(app='shop', root={ROOT!r}, stages=stages)\n"
            f"host = Host({self.host.ip!r}, user='deploy', name={self.host.name!r}, "
            f"identity={str(self.host.identity)!r}, host_key={self.host.host_key!r})\n"
            "production = Environment(pipeline, hosts=[host])\n"
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `deploykit` with *words*, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "deploykit", *words],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def call(self, *words: str) -> tuple[int, str]:
        """Return the exit code of `deploykit` with *words*, and what it printed."""
        with self.start(*words) as process:
            said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def log(self) -> list[str]:
        """Return what the stages did."""
        return self.host.read(LOG).split() if self.host.exists(LOG) else []

    def is_locked(self) -> bool:
        """Return whether somebody holds the lock."""
        return self.host.exists(f"{ROOT}/.deploykit/lock")

    def states(self) -> list[str]:
        """Return the states of all runs, newest first."""
        return [run.state for run in api.runs(self.environment())]

    def releases(self) -> list[str]:
        """Return what stands in `releases/`, whatever its name."""
        return self.host.root(f"ls -A {ROOT}/releases 2>/dev/null || :").stdout.split()


@pytest.fixture
def shop(host: Host, tmp_path: Path) -> Iterator[Shop]:
    """Return a small project, and a host on which nothing was deployed yet."""
    host.root(f"rm -rf {ROOT}; install -d -o deploy -g deploy {ROOT}")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("print('hello')\n")
    yield Shop(host, tmp_path)
    host.root("rm -f /home/deploy/.bashrc")


# -- the source ------------------------------------------------------------------------------


def test_every_name_arrives(shop: Shop) -> None:
    """Spaces, quotes, newlines, unicode, a leading dash: as file, folder, link and shared path."""
    names = ["a b", "it's", 'q"uote', "new\nline", "üß\u2028", "-rf", "$(touch x)", "*", "\\n"]
    for name in names:
        (shop.project / "app" / name).mkdir()
        (shop.project / "app" / name / name).write_text(name)
        (shop.project / "app" / f"{name}.link").symlink_to(name)
    environment = shop.environment(Transfer("app", shared=["-m'e d/", "ü/x y/"]))
    result = environment.run()
    assert result.ok, result.error
    script = (
        "import os, sys; print([(p, sorted(d), sorted(f)) for p, d, f in sorted(os.walk('.'))])"
    )
    on_host = shop.host.root(f'cd {ROOT}/releases/{result.release}; python3 -c "{script}"').stdout
    for name in names:
        assert repr(name) in on_host
    assert sum(on_host.count(repr(name)) for name in names) >= 2 * len(names)
    assert shop.host.exists(f"{ROOT}/shared/-m'e d")
    assert shop.host.exists(f"{ROOT}/releases/{result.release}/ü/x y")


def test_a_narrow_umask_changes_no_mode(shop: Shop) -> None:
    """The manifest's modes hold though the deploy user's umask is 077; our folder is private."""
    shop.host.write("/home/deploy/.bashrc", "umask 077\n", owner="deploy:deploy")
    (shop.project / "app" / "main.py").chmod(0o644)
    (shop.project / "app" / "sub").mkdir(mode=0o755)
    (shop.project / "app" / "run.sh").write_text("#!/bin/sh\n")
    (shop.project / "app" / "run.sh").chmod(0o755)
    result = shop.environment(Transfer("app", shared=["media/"])).run()
    release = f"{ROOT}/releases/{result.release}"
    paths = f"{release}/main.py {release}/sub {release}/run.sh {ROOT}/.deploykit {ROOT}/shared"
    modes = shop.host.root(f"stat -c %a {paths}").stdout.split()
    assert modes == ["644", "755", "755", "700", "2770"]
    assert shop.host.as_user("app", f"cat {release}/main.py").stdout == "print('hello')\n"


def test_a_file_that_changes_while_it_is_sent_is_refused(shop: Shop) -> None:
    """No release holds half of one state and half of another; the next run sends the new one."""

    def edit(event: Event) -> None:
        if event["event"] == "run_started":
            (shop.project / "app" / "main.py").write_text("edited\n")

    result = api.run(shop.environment(Transfer("app")), listeners=[edit])
    assert (result.exit_code, result.state) == (1, "rolled_back")
    assert "main.py changed while it was being sent" in str(result.error)
    assert shop.releases() == []
    assert not shop.is_locked()
    assert shop.environment(Transfer("app")).run().ok


def test_a_file_that_is_gone_before_it_is_sent_is_named(shop: Shop) -> None:
    """As a file that cannot be read, with its path."""
    result = api.run(
        shop.environment(Transfer("app")),
        listeners=[
            lambda event: (
                (shop.project / "app" / "main.py").unlink(missing_ok=True)
                if event["event"] == "run_started"
                else None
            )
        ],
    )
    assert (result.exit_code, shop.releases(), shop.is_locked()) == (1, [], False)
    assert "main.py cannot be read: No such file" in str(result.error)


@pytest.mark.parametrize("trouble", ["empty", "link", "fifo", "shared"])
def test_a_source_that_cannot_be_sent_touches_nothing(shop: Shop, trouble: str) -> None:
    """It is refused before the host is asked, with exit code 2."""
    app = shop.project / "app"
    if trouble == "empty":
        (app / "main.py").unlink()
    elif trouble == "link":
        (app / "passwd").symlink_to("/etc/passwd")
    elif trouble == "fifo":
        os.mkfifo(app / "pipe")
    else:
        (app / "media").mkdir()
    with pytest.raises(ConfigurationError) as refused:
        shop.environment(Transfer("app", shared=["media/"])).run()
    assert refused.value.exit_code == 2
    assert refused.value.then or trouble == "fifo"
    assert shop.host.root(f"ls -A {ROOT}").stdout == ""


def test_a_missing_shared_file_names_the_command_that_sends_it(shop: Shop) -> None:
    """Nothing is touched, and the lock is free."""
    with pytest.raises(ConfigurationError, match=r"shared file '\.env' is not there") as missing:
        shop.environment(Transfer("app", shared=[".env"])).run()
    assert missing.value.then == "send it: deploykit shared put production .env"
    assert not shop.is_locked()
    assert shop.releases() == []


# -- the host --------------------------------------------------------------------------------


def test_a_root_that_is_absent_is_made(shop: Shop) -> None:
    """Where the deploy user may; the folder can be entered by the web server."""
    stages = [Shell("where", do="pwd")]
    result = shop.environment(*stages, root="/home/deploy/sites/shop").run()
    assert result.ok, result.error
    assert shop.host.root("stat -c %a /home/deploy/sites/shop").stdout.strip() == "755"


@pytest.mark.parametrize(
    ("root", "said"), [("/srv/other", "no right to make"), ("/etc", "no right to write in")]
)
def test_a_root_without_right_names_the_command(shop: Shop, root: str, said: str) -> None:
    """Exit code 2, and what root must type there."""
    with pytest.raises(TransportError, match=f"{said} {root}") as refused:
        shop.environment(Shell("x", do="true"), root=root).run()
    assert refused.value.exit_code == 2
    assert "as root there: " in refused.value.then


def test_a_disk_too_small_is_said_before_anything_is_sent(hosts: Hosts, tmp_path: Path) -> None:
    """The plan knows the size of the release."""
    shop = _on_small_disk(hosts, tmp_path)
    (tmp_path / "app" / "big").write_bytes(os.urandom(1 << 20) * 4)
    shop.host.fill(leave=2 << 20)
    with pytest.raises(ConfigurationError, match=r"the release needs 4\.2 MB") as refused:
        shop.environment(Transfer("app")).run()
    assert "nothing was touched" in str(refused.value)
    shop.host.unfill()
    assert not shop.is_locked()
    assert shop.environment(Transfer("app")).run().ok


def test_a_disk_that_fills_while_files_are_sent_makes_no_release(
    hosts: Hosts, tmp_path: Path
) -> None:
    """Not one truncated file gets a release's name; with room again, everything can be undone."""
    shop = _on_small_disk(hosts, tmp_path)
    for number in range(1500):
        (tmp_path / "app" / f"file{number}").write_text("x")
    shop.host.fill(leave=2 << 20)
    result = shop.environment(Transfer("app")).run()
    assert result.exit_code in (1, 3)
    assert "disk full" in str(result.error)
    assert not [name for name in shop.releases() if not name.startswith(".")]
    shop.host.unfill()
    if result.exit_code == 3:
        assert shop.environment().rollback().exit_code == 0
    assert shop.releases() == []
    assert not shop.is_locked()
    assert shop.environment(Transfer("app")).run(again=True).ok


def test_a_disk_that_a_command_has_filled_ends_in_an_error(hosts: Hosts, tmp_path: Path) -> None:
    """As soon as one cannot be written down it does not begin either, and the way back is free."""
    shop = _on_small_disk(hosts, tmp_path)
    fill = Shell("fill", do="cat /dev/zero >zero || :", undo="rm -f zero")
    more = [
        Shell(f"more-{number}", do=f"touch more-{number}", undo=f"rm -f more-{number}")
        for number in range(40)
    ]
    result = shop.environment(fill, *more).run()
    assert (result.exit_code, result.state) == (1, "rolled_back")
    assert "could not be started: the disk is full" in str(result.error)
    assert shop.host.root(f"cd {ROOT}; ls").stdout == ""
    assert not shop.is_locked()


def _on_small_disk(hosts: Hosts, project: Path) -> Shop:
    host = hosts(1, disk="64M")[0]
    host.root(f"rm -rf {ROOT}; install -d -o deploy -g deploy {ROOT}")
    (project / "app").mkdir()
    (project / "app" / "main.py").write_text("print('hello')\n")
    return Shop(host, project)


# -- signals and kills -----------------------------------------------------------------------

SLOW = f"Shell('slow', do='touch {ROOT}/began; sleep 300', undo='echo undo-slow >>{LOG}')"


def test_a_signal_during_a_command_goes_back(shop: Shop) -> None:
    """The command is stopped, everything is undone, exit code 130, and the lock is free."""
    shop.declare(f"Transfer('app'), {MARK}, {SLOW}")
    with shop.start("run", "production") as run:
        eventually(lambda: shop.host.exists(f"{ROOT}/began"), within=30)
        run.send_signal(signal.SIGHUP)
        said, _ = run.communicate(timeout=30)
    assert run.returncode == 130, said
    assert "SIGHUP" in said
    assert shop.log() == ["do", "undo-slow", "undo"]
    assert not shop.is_locked()
    assert shop.states() == ["rolled_back"]
    assert shop.host.root("pgrep -x sleep", check=False).stdout == ""
    shop.declare(f"Transfer('app'), {MARK}")
    assert shop.call("run", "production")[0] == 0


def test_a_signal_during_an_upload_goes_back(shop: Shop) -> None:
    """Nothing half-sent stays."""
    (shop.project / "app" / "big").write_bytes(os.urandom(1 << 22))
    shop.declare("Transfer('app')")
    shop.host.rate("4mbit")
    with shop.start("run", "production") as run:
        eventually(lambda: any(".part" in name for name in shop.releases()), within=30)
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=40)
    shop.host.heal()
    assert run.returncode == 130, said
    assert shop.releases() == []
    assert not shop.is_locked()


def test_a_signal_during_a_build_touches_nothing(shop: Shop) -> None:
    """It ends the build at once, with what it started, and no host was asked."""
    shop.declare("Local('touch building; sleep 300; touch built'), Transfer('app')")
    with shop.start("run", "production") as run:
        eventually((shop.project / "building").exists, within=30)
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=20)
    assert run.returncode == 130, said
    assert "nothing was touched" in said
    assert not (shop.project / "built").exists()
    assert shop.host.root(f"ls -A {ROOT}").stdout == ""


def test_a_second_signal_leaves_at_once(shop: Shop) -> None:
    """Exit code 3 with the command to type; the lock stays, and that command finishes."""
    undo = f"touch {ROOT}/undoing; until [ -e {ROOT}/go ]; do sleep 0.05; done; {UNDO}"
    shop.declare(f"Shell('mark', do='{DO}', undo='{undo}'), {SLOW}")
    with shop.start("run", "production") as run:
        eventually(lambda: shop.host.exists(f"{ROOT}/began"), within=30)
        run.send_signal(signal.SIGINT)
        eventually(lambda: shop.host.exists(f"{ROOT}/undoing"), within=30)
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=5)
    assert run.returncode == 3, said
    assert "deploykit resume production" in said
    assert "deploykit rollback production" in said
    assert shop.is_locked()
    assert shop.states() == ["back"]
    refused, why = shop.call("run", "production")
    assert (refused, "is unfinished" in why) == (5, True), why
    shop.host.root(f"touch {ROOT}/go")
    assert shop.call("resume", "production")[0] == 1
    assert shop.log() == ["do", "undo-slow", "undo"]
    assert not shop.is_locked()
    assert shop.states() == ["rolled_back"]


@pytest.mark.parametrize(
    ("verb", "code", "log", "state"),
    [
        ("resume", 0, ["do", "slow"], "sealed"),
        ("rollback", 0, ["do", "undo-slow", "undo"], "rolled_back"),
    ],
)
def test_a_controller_that_is_killed_leaves_a_run_that_can_be_finished(
    shop: Shop, verb: str, code: int, log: list[str], state: str
) -> None:
    """The command it left goes on and is joined, or is stopped and undone: each effect once."""
    do = f"touch {ROOT}/began; until [ -e {ROOT}/go ]; do sleep 0.05; done; echo slow >>{LOG}"
    shop.declare(
        f"Transfer('app'), {MARK}, Shell('slow', do='{do}', undo='echo undo-slow >>{LOG}')"
    )
    with shop.start("run", "production") as run:
        eventually(lambda: shop.host.exists(f"{ROOT}/began"), within=30)
        run.kill()
        run.communicate(timeout=10)
    assert shop.is_locked()
    with pytest.raises(Refused, match="its controller is gone"):
        eventually(lambda: api.run(shop.environment(Shell("x", do="true"))), failing=LockHeld)
    if verb == "resume":
        shop.host.root(f"touch {ROOT}/go")
    done, said = shop.call(verb, "production")
    assert done == code, said
    assert (shop.log(), shop.is_locked(), shop.states()) == (log, False, [state])
    assert shop.call("resume", "production")[0] == 0
