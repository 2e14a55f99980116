"""A host with SFTP and no shell, as shared hosting has it: chrooted, and nothing can run there."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploykit import Environment
from deploykit.doctor import examine
from deploykit.engine import api, lock
from deploykit.engine.events import Event, Events
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.sftp_only.session import SftpSession
from deploykit.engine.sftp_only.unit import SftpUnit
from deploykit.errors import ConfigurationError, Fenced, LockHeld, Refused
from deploykit.loader import load
from tests.farm import Host
from tests.farm.chrooted import HOME, USER, chrooted
from tests.transport.cutting import Relay

REPOSITORY = Path(__file__).parents[2]
SITE = f"{HOME}/site"
DEPLOY = """
from deploykit import Environment, Host, Pipeline
from deploykit.stages import Prune, Publish, Shell, SmokeTest, Transfer

web = Host(
    {address!r}, port={port}, user={user!r}, identity={identity!r}, host_key={key!r}, name="web",
    shell=False,
)
production = Environment(
    Pipeline(
        app="site",
        root="/site",
        stages=[
            Transfer("public", shared=["uploads/"]), Publish(link="public_html"),
            {check} Prune(keep=2),
        ],
    ),
    hosts=[web],
)
"""
NOBODY = 'SmokeTest("http://127.0.0.1:1/", within=0),'
# Runs an environment, and gets itself killed in the middle of telling an event.
CONTROLLER = """
import os, signal, sys
from pathlib import Path
from deploykit.engine import api
from deploykit.loader import load
def listen(told):
    if [told["event"], told.get("stage", "")] == sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGKILL)
api.run(load(Path("deploy.py"))["production"], listeners=[listen])
"""


@dataclass
class Site:
    """A site's project here, and its host."""

    host: Host
    project: Path

    def declare(self, check: str = "", port: int = 22, address: str = "") -> Environment:
        """Write the `deploy.py`, and return its environment."""
        text = DEPLOY.format(
            address=address or self.host.ip,
            port=port,
            user=USER,
            identity=str(self.host.identity),
            key=self.host.host_key,
            check=check,
        )
        (self.project / "deploy.py").write_text(text)
        return load(self.project / "deploy.py")["production"]

    def write(self, text: str) -> None:
        """Change the page."""
        (self.project / "public" / "index.html").write_text(text)

    @property
    def page(self) -> str:
        """What a web server would send."""
        return self.host.read(f"{SITE}/public_html/index.html")

    @property
    def published(self) -> str:
        """What the link contains."""
        return self.host.root(f"readlink {SITE}/public_html").stdout.strip()

    def listed(self, folder: str) -> list[str]:
        """Return the names in a folder of the site."""
        return self.host.root(f"ls -A {SITE}/{folder}").stdout.split()

    def typed(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type a command of deploykit."""
        return subprocess.run(
            [sys.executable, "-m", "deploykit", *words],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def killed(self, event: str, stage: str = "") -> None:
        """Let a controller be killed when it tells *event* of *stage*."""
        process = subprocess.run(
            [sys.executable, "-c", CONTROLLER, event, stage],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            check=False,
            timeout=120,
        )
        assert process.returncode == -signal.SIGKILL


@pytest.fixture
def site(host: Host, tmp_path: Path) -> Site:
    """Return a site that was never deployed."""
    chrooted(host)
    public = tmp_path / "public"
    (public / "css").mkdir(parents=True)
    (public / "index.html").write_text("one")
    (public / "css" / "site.css").write_text("body {}" * 1000)
    (public / "latest").symlink_to("css/site.css")
    site = Site(host, tmp_path)
    site.declare()
    return site


def test_a_site_is_deployed_and_goes_back(site: Site) -> None:
    """What its owner types, from the first deploy to a rollback."""
    first = site.typed("run", "production")
    assert first.returncode == 0, first.stdout + first.stderr
    assert site.page == "one"
    assert site.published.startswith("releases/")
    assert site.listed("shared") == ["uploads"]
    site.write("two")
    planned = site.typed("plan", "production").stdout
    assert "send 1 of them, 3 B" in planned
    assert "no guardian on web: it has no shell" in planned
    assert site.typed("run", "production").returncode == 0
    assert site.page == "two"
    status = json.loads(site.typed("status", "production", "--json").stdout)
    assert status["ok"]
    assert status["hosts"][0]["release"] == site.published.rpartition("/")[2]
    assert len(json.loads(site.typed("releases", "production", "--json").stdout)) == 2
    back = site.typed("rollback", "production")
    assert back.returncode == 0, back.stdout + back.stderr
    assert site.page == "one"
    assert site.typed("status", "production").returncode == 0
    assert site.typed("run", "production").returncode == 5  # it was rolled back
    assert site.typed("run", "production", "--again").returncode == 0
    assert site.page == "two"
    assert not site.host.exists(f"{SITE}/.deploykit/lock")


def test_the_example_serves_its_page(site: Site) -> None:
    """nginx, which sees the whole host and not the folder alone, follows the link."""
    site.host.nginx(
        f"server {{ listen 80 default_server; location / {{ root {SITE}/public_html; }} }}"
    )
    site.host.root(f"chmod 755 {HOME} {SITE}")
    example = runpy.run_path(str(REPOSITORY / "pipelines" / "website" / "deploy.py"))
    url = f"http://{site.host.ip}/"
    production = Environment(
        example["website"](url),
        hosts=site.declare().hosts,
        name="production",
        project=REPOSITORY / "pipelines" / "website",
    )
    assert production.run().ok
    with urllib.request.urlopen(url) as answer:
        assert b"Served from the release" in answer.read()


def test_a_check_that_fails_takes_the_site_back(site: Site) -> None:
    """The link, and a folder that stood there before anything was deployed."""
    site.host.root(
        f"install -d -o {USER} {SITE}/public_html; echo old >{SITE}/public_html/index.html;"
        f" chown -R {USER} {SITE}"
    )
    failed = site.declare(NOBODY).run()
    assert (failed.exit_code, failed.state) == (1, "rolled_back")
    assert site.page == "old\n"
    assert site.declare().run(again=True).ok
    assert site.page == "one"
    assert site.declare().rollback().ok
    assert site.page == "old\n"
    assert site.declare().run(again=True).ok
    site.write("two")
    assert site.declare(NOBODY).run().exit_code == 1
    assert site.page == "one"


def test_old_releases_go(site: Site) -> None:
    """Prune keeps two, with what belongs to them."""
    for text in ("one", "two", "three"):
        site.write(text)
        assert site.declare().run().ok
    assert len(site.listed("releases")) == 2
    assert {name.partition(".")[0] for name in site.listed(".deploykit/manifests")} == set(
        site.listed("releases")
    )


def test_a_release_that_somebody_edited_is_told_of(site: Site) -> None:
    """Who goes back to it learns which files are not what was deployed."""
    first = site.declare().run().release
    site.write("two")
    assert site.declare().run().ok
    site.host.root(f"echo edited >{SITE}/releases/{first}/css/site.css")
    told: list[Event] = []
    assert api.rollback(site.declare(), listeners=[told.append]).exit_code == 0
    altered = [event for event in told if event["event"] == "release_altered"]
    assert [(event["release"], event["files"]) for event in altered] == [(first, ["css/site.css"])]


def test_one_at_a_time(site: Site) -> None:
    """A lock that is held keeps everybody else out, and is freed."""
    production = site.declare()
    held = api.lock_acquire(production, "a photo shoot")
    with pytest.raises(LockHeld, match="a photo shoot"):
        production.run()
    assert api.lock_status(production)
    assert api.lock_release(production) == held
    assert api.lock_status(production) is None
    assert production.run().ok


@pytest.mark.parametrize("stage", ["transfer", "publish"])
@pytest.mark.parametrize("way", ["resume", "rollback"])
def test_a_controller_that_was_killed(site: Site, stage: str, way: str) -> None:
    """Its run is finished or undone by the next one, from the journal alone."""
    production = site.declare()
    assert production.run().ok
    site.write("two")
    site.killed("stage_applied", stage)
    with pytest.raises((Refused, LockHeld)):
        production.run()
    verb = api.resume if way == "resume" else api.rollback
    result = verb(production, takeover=True)
    assert result
    assert result.exit_code == 0
    assert site.page == ("two" if way == "resume" else "one")
    assert [name for name in site.listed("releases") if name.startswith(".")] == []
    assert not site.host.exists(f"{SITE}/.deploykit/lock")


def test_whoever_was_taken_over_stops(site: Site) -> None:
    """Before its next effect, and its heart does not beat for the other."""
    production = site.declare()
    with api.connected(production) as fleet:
        session = fleet.sessions["web"]
        assert isinstance(session, SftpSession)
        epoch = lock.take(fleet, "first", "run")
        unit = SftpUnit(
            session, "first", epoch, "x", "apply", 1, {}, (), Events(), Interrupts("production")
        )
        unit.put(b"x", "/site/x")
        newer = lock.take_over(fleet, "first", "rollback")
        with pytest.raises(Fenced):
            unit.put(b"y", "/site/x")
        with pytest.raises(Fenced):
            lock.release(fleet, "first", epoch)
        assert site.host.read(f"{SITE}/x") == "x"
        lock.release(fleet, "first", newer)


def test_of_two_who_take_over_one_gets_it(site: Site) -> None:
    """The epoch that both have seen is followed by one only."""
    with api.connected(site.declare()) as fleet:
        seen = lock.take(fleet, "first", "run")
        lock.take_over(fleet, "first", "rollback", seen)
        with pytest.raises(Fenced):
            lock.take_over(fleet, "first", "resume", seen)
        lock.force(fleet, "first")


def test_a_link_that_is_lost_again_and_again(site: Site) -> None:
    """Wherever it is cut, the run goes on; every record is there once."""
    with closing(Relay(site.host.ip, 22)) as relay:
        production = site.declare(address="127.0.0.1", port=relay.port)
        assert production.run().ok
        for number, size in enumerate(range(500, 26_000, 4_500)):
            site.write(f"page {number}")

            def cut(told: Event, size: int = size) -> None:
                if told["event"] == "connected":
                    relay.cut_after(size)

            result = api.run(production, listeners=[cut])
            assert result.ok, result.error
            assert site.page == f"page {number}"
            records = api.history(production, result.run)
            assert [r["seq"] for r in records] == list(range(1, len(records) + 1))
            kinds = [(r["kind"], r.get("stage")) for r in records if r["kind"] != "began"]
            assert len(kinds) == len(set(kinds))
    assert relay.cuts == 6


def test_check_says_what_cannot_work(site: Site) -> None:
    """And what was found."""
    production = site.declare()
    found = list(examine(production, {"production": production}))
    said = "\n".join(finding.what for finding in found)
    assert "no shell" in said
    assert not [finding for finding in found if finding.severity == "problem"]
    assert production.run().ok
    said = "\n".join(f.what for f in examine(production, {"production": production}))
    assert "it makes symbolic links" in said


def test_commands_are_refused_before_anything_is_touched(site: Site) -> None:
    """A stage that needs a shell is a mistake in deploy.py."""
    with pytest.raises(ConfigurationError, match=r"web.*no shell"):
        site.declare('Shell("cache", do="rm -rf cache"),')


def test_a_host_that_was_thought_to_have_a_shell(site: Site) -> None:
    """The error says how to declare it."""
    text = (site.project / "deploy.py").read_text().replace("shell=False", "shell=True")
    (site.project / "deploy.py").write_text(text)
    told = site.typed("run", "production")
    assert told.returncode == 2
    assert "Host(shell=False)" in told.stderr


def test_shared_files(site: Site, tmp_path: Path) -> None:
    """They are brought, listed and fetched without a shell, too."""
    (tmp_path / "config.ini").write_text("secret")
    for text, said in (("secret", "is there now"), ("secret", "same"), ("other", "replaced")):
        (tmp_path / "config.ini").write_text(text)
        put = site.typed("shared", "put", "production", "config.ini")
        assert put.returncode == 0, put.stderr
        assert said in put.stdout
    assert site.host.root(f"stat -c %a {SITE}/shared/config.ini").stdout.strip() == "600"
    listed = json.loads(site.typed("shared", "list", "production", "--json").stdout)
    assert [(file["path"], file["size"]) for file in listed] == [("config.ini", 5)]
    assert site.typed("shared", "get", "production", "config.ini").stdout == "other"


def test_progress_is_told(site: Site) -> None:
    """Bytes and files of an upload."""
    told: list[Event] = []
    assert api.run(site.declare(), listeners=[told.append]).ok
    progress = [event for event in told if event["event"] == "upload_progress"]
    assert progress[-1]["done"] == progress[-1]["total"] > 7000
