"""Guardians on real hosts: the controller is killed, frozen or gone, and the code comes back."""

from __future__ import annotations

import os
import posixpath
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from deploykit import Environment, Secret
from deploykit.doctor import examine
from deploykit.engine import api
from deploykit.engine.arming import start_words
from deploykit.engine.journal import History
from deploykit.engine.status import all_runs
from deploykit.errors import Refused
from deploykit.layout import Layout
from deploykit.loader import load
from deploykit.services.rights import rule
from deploykit.stages import Restart
from tests.farm import Host, eventually
from tests.real.service_site import ROOT, VERBS, Site, fresh_site

REPOSITORY = Path(__file__).parents[2]
SOON = 3  # seconds without a heartbeat, where the controller is to be taken for gone at once
PATIENCE = 60.0  # seconds until the tests take it that nothing comes any more
LOOK = f"""
set +e
units='list-units --all --plain --no-legend *guardian*'
pgrep -f 'bin/[g]uardian.sh'
systemctl $units
XDG_RUNTIME_DIR=/run/user/1000 runuser -u deploy -- systemctl --user $units 2>/dev/null
find {ROOT}/.deploykit/runs -name 'guardian*' -o -name 'undo-*' 2>/dev/null
true
"""

DEPLOY = """
from deploykit import Environment, Host, Pipeline
from deploykit.stages import Pause, Restart, Shell, Transfer
from tests.real.reshaping import Reshape

stages = [Transfer("app"), {stages}]
pipeline = Pipeline(app="shop", root={root!r}, stages=stages, confirm_within={within})
production = Environment(pipeline, hosts=[{hosts}])
"""
TARGET = "Host({ip!r}, user='deploy', identity={identity!r}, host_key={key!r}, name={name!r})"

# Runs an environment, and does to itself what it is told to, in the middle of telling an event.
CONTROLLER = """
import os, sys
from pathlib import Path
from deploykit.engine import api
from deploykit.loader import load, pick
event, key, number = sys.argv[1:]
def listen(told):
    if told["event"] == event and told.get("key", told.get("stage")) == key:
        os.kill(os.getpid(), int(number))
result = api.run(pick(load(Path("deploy.py")), "production"), again=True, listeners=[listen])
sys.exit(result.exit_code)
"""
NEVER = ("never", "", signal.SIGKILL)
MOVED = ("command_ended", "publish")  # the link has moved, and nothing was restarted


@dataclass
class Shop:
    """A site, and a `deploy.py` for it that a controller of its own reads."""

    site: Site
    hosts: tuple[Host, ...]
    production: Environment = field(init=False)

    @property
    def host(self) -> Host:
        """The first host."""
        return self.hosts[0]

    def declare(self, stages: str = "Restart('shop.service')", within: float = 90) -> Environment:
        """Write the `deploy.py`."""
        hosts = ", ".join(
            TARGET.format(ip=h.ip, identity=str(h.identity), key=h.host_key, name=h.name)
            for h in self.hosts
        )
        text = DEPLOY.format(stages=stages, root=ROOT, within=within, hosts=hosts)
        (self.site.project / "deploy.py").write_text(text)
        self.production = load(self.site.project / "deploy.py")["production"]
        return self.production

    @contextmanager
    def controller(self, event: str, key: str, number: int) -> Iterator[subprocess.Popen[bytes]]:
        """Start a controller that gets signal *number* when it tells *event* of *key*."""
        process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLER, event, key, str(number)],
            cwd=self.site.project,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def killed(self, event: str, key: str) -> None:
        """Let a controller be killed when it tells *event* of *key*."""
        with self.controller(event, key, signal.SIGKILL) as process:
            assert process.wait(120) == -signal.SIGKILL

    def newest(self) -> History:
        """Return the newest run."""
        with api.connected(self.production) as fleet:
            return all_runs(fleet)[0]

    def undone(self, key: str = "undo-restart") -> list[tuple[str, int]]:
        """Return the host and exit code of every undo under *key* in the newest run."""
        ended = self.newest().all("ended")
        return [(host, r["rc"]) for host, r in ended if (r["key"], r["direction"]) == (key, "undo")]

    def guardians(self, host: Host | None = None) -> str:
        """Return what there is of guardians on a host: processes, units, files."""
        return (host or self.host).root(LOOK).stdout.strip()

    def how(self) -> set[str]:
        """Return how the guardians of the newest run were started."""
        return {record["how"] for _, record in self.newest().all("armed")}


@pytest.fixture
def shop(host: Host, tmp_path: Path) -> Shop:
    """Return a site on one host, without anything that would make a guardian a unit."""
    return _shop((host,), tmp_path)


def _shop(hosts: tuple[Host, ...], project: Path) -> Shop:
    for host in hosts:
        site = fresh_site(host, project)
        site.unit()
        site.allow(*VERBS)
        host.root("loginctl disable-linger deploy")
    return Shop(Site(hosts[0], project), hosts)


def system_rule() -> str:
    """Return the rule of sudo that makes a guardian a unit of the system."""
    program, *words = start_words(Layout(ROOT), "deploy")
    return rule("deploy", program, words)


@pytest.mark.parametrize("way", ["detached", "user", "system"])
def test_the_code_comes_back(shop: Shop, way: str) -> None:
    """However the guardian runs; then resume finishes, and what was done is not done again."""
    if way == "user":
        shop.host.root("loginctl enable-linger deploy")
        eventually(lambda: shop.host.exists("/run/user/1000/systemd/private"))
    elif way == "system":
        rules = [f"deploy ALL=(root) NOPASSWD: /usr/bin/systemctl {v} shop.service" for v in VERBS]
        shop.host.sudoers("\n".join([*rules, system_rule()]))
    first = shop.declare().run()
    assert first.ok, first.error
    assert shop.how() == {way}
    eventually(lambda: shop.guardians() == "", within=PATIENCE)
    production = shop.declare(within=SOON)
    shop.killed(*MOVED)
    assert shop.site.current() != f"releases/{first.release}"
    assert shop.guardians() != ""
    eventually(lambda: shop.undone() == [(shop.host.name, 0)], within=PATIENCE)
    eventually(lambda: shop.guardians() == "", within=PATIENCE)
    assert shop.site.current() == f"releases/{first.release}"
    assert shop.site.serves(first.release)
    _tells_the_truth(production, "back", "brought the code back")
    result = api.resume(production)
    assert result is not None
    assert (result.exit_code, result.state) == (1, "rolled_back"), (result.error, result.table)
    assert shop.undone() == [(shop.host.name, 0)]
    assert shop.declare().run(again=True).ok


def _tells_the_truth(production: Environment, state: str, did: str) -> None:
    status = production.status()
    assert not status.ok
    assert (status.unfinished_state, did in status.guardian) == (state, True)
    assert api.runs(production)[0].state == state
    with pytest.raises(Refused, match=did) as refused:
        production.run(again=True)
    assert refused.value.exit_code == 5
    for verb in ("resume", "rollback"):
        assert f"deploykit {verb} production" in refused.value.then


def test_a_controller_that_wakes_up_rolls_back_the_rest(shop: Shop) -> None:
    """It is fenced, sees that it was a guardian, and goes on from what that has done."""
    first = shop.declare().run()
    assert first.ok, first.error
    shop.declare(within=SOON)
    with shop.controller(*MOVED, signal.SIGSTOP) as process:
        eventually(shop.undone, within=PATIENCE)
        assert shop.site.serves(first.release)
        process.send_signal(signal.SIGCONT)
        assert process.wait(120) == 1
    assert shop.newest().state == "rolled_back"
    assert shop.undone() == [(shop.host.name, 0)]
    assert api.lock_status(shop.production) is None


def test_a_controller_that_goes_back_itself(shop: Shop) -> None:
    """A run that fails takes its guardian away, which never fires."""
    first = shop.declare().run()
    assert first.ok, first.error
    result = shop.declare("Restart('shop.service'), Shell('break', do='exit 7')").run(again=True)
    assert (result.exit_code, result.state) == (1, "rolled_back"), (result.error, result.table)
    eventually(lambda: shop.guardians() == "", within=PATIENCE)
    assert not shop.newest().has("fired")
    assert shop.undone() == [(shop.host.name, 0)]


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT, signal.SIGTERM], [signal.SIGTERM]],
    ids=["GitHub cancels", "GitLab cancels"],
)
def test_a_job_whose_seconds_do_not_suffice(shop: Shop, signals: list[signal.Signals]) -> None:
    """Killed before it has gone back: the journal says why it went, and a guardian finishes."""
    go = f"until [ -e {ROOT}/go ]; do sleep 0.1; done"
    first = shop.declare().run()
    assert first.ok, first.error
    production = shop.declare(
        f"Restart('shop.service'), Shell('slow', do='sleep 600', undo='{go}')", within=SOON
    )
    with shop.controller(*NEVER) as process:
        eventually(
            lambda: ("slow", shop.host.name) in shop.newest().touched(),
            within=PATIENCE,
            failing=IndexError,
        )
        for number in signals:
            process.send_signal(number)
            eventually(lambda: shop.newest().has("back"), within=PATIENCE)
            with pytest.raises(subprocess.TimeoutExpired):  # it goes on going back
                process.wait(1)
        process.kill()
        process.wait()
    (_, back), *_ = shop.newest().all("back")
    assert f"interrupted by {signals[0].name}" in back["reason"]
    shop.host.root(f"touch {ROOT}/go")
    eventually(lambda: shop.undone() == [(shop.host.name, 0)], within=PATIENCE)
    eventually(lambda: shop.guardians() == "", within=PATIENCE)
    assert shop.site.serves(first.release)
    result = api.resume(production)
    assert result is not None
    assert result.state == "rolled_back", (result.error, result.table)
    assert shop.undone() == [(shop.host.name, 0)]


@pytest.mark.parametrize("when", ["killed", "frozen"])
def test_a_race_with_the_undo_of_the_controller(shop: Shop, when: str) -> None:
    """Begun by the controller, it is not yet done when the guardian fires, which waits for it."""
    hold = f"{ROOT}/hold"
    shop.site.unit(more=f"ExecStop=/bin/sh -c 'while [ -e {hold} ]; do sleep 0.1; done'")
    first = shop.declare().run()
    assert first.ok, first.error
    fails = f"Restart('shop.service'), Shell('break', do='touch {hold}; exit 7')"
    production = shop.declare(fails, within=12)
    with shop.controller(*NEVER) as process:
        eventually(
            lambda: any(record["direction"] == "undo" for _, record in shop.newest().all("began")),
            within=PATIENCE,
        )
        process.send_signal(signal.SIGKILL if when == "killed" else signal.SIGSTOP)
        eventually(lambda: shop.newest().has("fired"), within=PATIENCE)
        shop.host.root(f"rm {hold}")
        if when == "killed":
            result = api.resume(production)
            assert result is not None
            assert (result.exit_code, result.state) == (1, "rolled_back"), (
                result.error,
                result.table,
            )
        else:
            process.send_signal(signal.SIGCONT)
            assert process.wait(120) == 1
    assert shop.newest().state == "rolled_back"
    assert shop.undone() == [(shop.host.name, 0)]
    assert shop.site.serves(first.release)
    eventually(lambda: shop.guardians() == "", within=PATIENCE)


@pytest.mark.parametrize("schema", ["", "Reshape(online=True), ", "Reshape(rung=2), "])
def test_what_was_paused_is_started_again(shop: Shop, schema: str) -> None:
    """Where the old code may run on the schema: under the receipts of the pause's own undo."""
    stages = f"Pause('shop.service'), {schema}Restart('shop.service')"
    first = shop.declare(stages).run()
    assert first.ok, first.error
    production = shop.declare(stages, within=SOON)
    shop.killed(*MOVED)
    eventually(lambda: shop.undone("start:shop.service"), within=PATIENCE)
    assert shop.site.serves(first.release)
    result = api.resume(production)
    assert result is not None
    assert (result.exit_code, result.state) == (1, "rolled_back"), (result.error, result.table)
    assert shop.undone() == [(shop.host.name, 0)]
    assert shop.undone("start:shop.service") == [(shop.host.name, 0)]
    assert shop.site.serves(first.release)


@pytest.mark.parametrize("between", ["Reshape()", "Shell('reshape', do='true', undo='true')"])
def test_old_code_does_not_meet_a_new_schema(shop: Shop, between: str) -> None:
    """The new code stays, and the run is in need of a rollback; resume does that."""
    stages = f"Pause('shop.service'), {between}, Restart('shop.service')"
    first = shop.declare(stages).run()
    assert first.ok, first.error
    production = shop.declare(stages, within=SOON)
    (note,) = [note for note in production.plan().notes if "guardian" in note]
    assert "leaves the new code" in note
    assert "reshape" in note
    shop.killed("stage_applied", "restart")
    eventually(lambda: shop.newest().has("needs_rollback"), within=PATIENCE)
    eventually(lambda: shop.guardians() == "", within=PATIENCE)
    assert shop.site.serves(posixpath.basename(shop.site.current()))
    assert shop.site.current() != f"releases/{first.release}"
    assert shop.undone() == []
    _tells_the_truth(production, "needs_rollback", "left the new code running")
    result = api.resume(production)
    assert result is not None
    assert (result.exit_code, result.state) == (1, "rolled_back"), (result.error, result.table)
    assert shop.site.serves(first.release)


def test_each_host_has_its_own(hosts: Callable[[int], list[Host]], tmp_path: Path) -> None:
    """One has moved its link and goes back; the other, whose turn never came, is left alone."""
    shop = _shop(tuple(hosts(2)), tmp_path)
    first = shop.declare().run()
    assert first.ok, first.error
    mains = [Site(host, tmp_path).main() for host in shop.hosts]
    production = shop.declare(within=SOON)
    shop.killed(*MOVED)
    eventually(lambda: len(list(shop.newest().all("back"))) == 2, within=PATIENCE)
    eventually(shop.undone, within=PATIENCE)
    for host, main in zip(shop.hosts, mains, strict=True):
        eventually(partial(_is_unguarded, shop, host), within=PATIENCE)
        site = Site(host, tmp_path)
        assert (site.current(), site.main()) == (f"releases/{first.release}", main)
    result = api.resume(production)
    assert result is not None
    assert (result.exit_code, result.state) == (1, "rolled_back"), (result.error, result.table)
    assert shop.undone() == [(shop.host.name, 0)]


def _is_unguarded(shop: Shop, host: Host) -> bool:
    return shop.guardians(host) == ""


def test_a_host_that_is_frozen_and_thawed(shop: Shop) -> None:
    """Its own clock went on: the controller gets its whole time again, and confirms."""
    wait = "Shell('wait', do='until [ -e /srv/shop/go ]; do sleep 0.1; done')"
    shop.declare(f"Restart('shop.service'), {wait}", within=16)
    with shop.controller(*NEVER) as process:
        eventually(
            lambda: ("wait", shop.host.name) in shop.newest().touched(),
            within=PATIENCE,
            failing=IndexError,
        )
        shop.host.freeze()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(20)
        shop.host.thaw()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(8)
        shop.host.root(f"touch {ROOT}/go")
        assert process.wait(120) == 0
    assert shop.newest().state == "sealed"


def test_where_sudo_needs_a_password_there_is_none(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password would have to lie on the host; `plan` and `check` say so."""
    shop.host.root("rm -f /etc/sudoers.d/*")
    shop.host.sudo_password("hunter2")
    monkeypatch.setenv("SUDO_PASSWORD", "hunter2")
    production = shop.production = shop.site.environment(
        Restart("shop.service"), sudo=Secret.from_env("SUDO_PASSWORD")
    )
    name = shop.host.name
    assert f"no guardian on {name}: sudo needs a password there" in production.plan().notes
    assert "no guardian: sudo needs a password" in _check(production)
    result = production.run()
    assert result.ok, result.error
    assert not shop.newest().has("armed")


def test_check_says_how_it_would_run(shop: Shop) -> None:
    """And what makes it a unit: with the rule that it prints, it is one."""
    production = shop.declare()
    assert "as a detached process; a reboot ends it" in _check(production)
    (line,) = [line for line in _check(production).splitlines() if "enable-linger deploy" in line]
    shop.host.sudoers(line.partition("sudoers.d/deploykit: ")[2], name="guardian")
    assert "as a unit of systemd; a reboot ends it" in _check(production)
    shop.host.root("loginctl enable-linger deploy")
    eventually(lambda: shop.host.exists("/run/user/1000/systemd/private"))
    assert "as a unit of deploy's own systemd; a reboot ends it" in _check(production)


def _check(production: Environment) -> str:
    found = examine(production, {"production": production})
    return "\n".join(f"{finding.what}\n{finding.mend}" for finding in found)
