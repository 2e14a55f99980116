"""The verbs together on a real SSH server: deploy, look, go back, share files, trust, check."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Program


def test_a_release_comes_and_goes(deploykit: Program, site: Path) -> None:
    """A run publishes, status and releases show it, and a rollback takes it back."""
    ran = deploykit("run", "production", "--json")
    assert ran.code == 0, ran.err
    release = json.loads(ran.out)["release"]
    assert (site / "current" / "index.html").read_text() == "hello"
    status = json.loads(deploykit("status", "production", "--json").out)
    assert status["ok"]
    assert status["hosts"][0]["release"] == release
    assert json.loads(deploykit("releases", "production", "--json").out)[0]["current"]
    records = json.loads(deploykit("runs", "production", release, "--json").out)["records"]
    assert records[0]["kind"] == "run"
    back = deploykit("rollback", "production")
    assert back.code == 0, back.err
    assert not (site / "current").exists()


def test_check_finds_nothing_wrong(deploykit: Program, site: Path) -> None:
    """A host on which a run would succeed has no problem, and is left as it was."""
    ended = deploykit("check", "production", "--json")
    document = json.loads(ended.out)
    assert (ended.code, document["ok"]) == (0, True), document
    assert not site.exists()


def test_check_reports_everything_at_once(deploykit: Program, site: Path) -> None:
    """All problems are found in one go, each with how to mend it."""
    site.mkdir()
    (site / "current").mkdir()
    deploy = Path("deploy.py")
    deploy.write_text(
        deploy.read_text()
        .replace("app='site'", "app='site', env_file='shared/.env'")
        .replace("Transfer('source')", "Transfer('nowhere')")
    )
    ended = deploykit("check", "production", "--json")
    findings = json.loads(ended.out)["findings"]
    problems = {f["what"]: f["mend"] for f in findings if f["severity"] == "problem"}
    assert ended.code == 1
    assert any("nowhere" in what for what in problems)
    assert any("current is no link" in what for what in problems)
    assert any("deploykit shared put production" in mend for mend in problems.values())


def test_check_of_an_unreachable_host(deploykit: Program, site: Path) -> None:
    """A host that does not answer hides nothing of what can be told without it."""
    deploy = Path("deploy.py")
    deploy.write_text(
        deploy.read_text().replace(
            "hosts=[host]", "hosts=[host, Host('127.0.0.1', port=1, name='gone')]"
        )
    )
    ended = deploykit("check", "production", "--json")
    by_host = {(f["host"], f["severity"]) for f in json.loads(ended.out)["findings"]}
    assert ended.code == 1
    assert ("gone", "problem") in by_host
    assert ("vps", "ok") in by_host
    assert ("vps", "problem") not in by_host


def test_shared_file_comes_whole_and_keeps_the_old_one(
    deploykit: Program, site: Path, tmp_path: Path
) -> None:
    """A file is put, replaced with the old version kept, and fetched again, byte by byte."""
    local = tmp_path / "a secret.env"
    local.write_bytes(b"A=1\n")
    assert deploykit("shared", "put", "production", str(local), ".env").code == 0
    assert (site / "shared" / ".env").stat().st_mode & 0o777 == 0o600
    local.write_bytes(b"A=\x00\xff\n")
    assert "replaced" in deploykit("shared", "put", "production", str(local), ".env").out
    assert "same" in deploykit("shared", "put", "production", str(local), ".env").out
    kept = list((site / ".deploykit" / "shared-versions").iterdir())
    assert [path.read_bytes() for path in kept] == [b"A=1\n"]
    assert kept[0].stat().st_mode & 0o777 == 0o600
    fetched = tmp_path / "fetched"
    assert deploykit("shared", "get", "production", ".env", str(fetched)).code == 0
    assert fetched.read_bytes() == b"A=\x00\xff\n"
    assert fetched.stat().st_mode & 0o777 == 0o600


def test_shared_file_in_a_setgid_folder_is_for_its_group(
    deploykit: Program, site: Path, tmp_path: Path
) -> None:
    """Where shared/ is setgid to a group, the file is readable by that group and nobody else."""
    (site / "shared").mkdir(parents=True)
    (site / "shared").chmod(0o2770)
    (tmp_path / "x").write_text("x")
    name = "deep/in 'there'.txt"
    assert deploykit("shared", "put", "production", str(tmp_path / "x"), name).code == 0
    assert (site / "shared" / name).stat().st_mode & 0o777 == 0o640
    listed = json.loads(deploykit("shared", "list", "production", "--json").out)
    assert [(file["path"], file["mode"]) for file in listed] == [
        ("deep", "2770"),
        (name, "0640"),
    ]


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "folder/", "."])
def test_shared_names_stay_below_shared(
    deploykit: Program, site: Path, tmp_path: Path, name: str
) -> None:
    """A name that leads out of shared/ is refused before the host is asked."""
    (tmp_path / "x").write_text("x")
    assert deploykit("shared", "put", "production", str(tmp_path / "x"), name).code == 2
    assert not site.exists()


def test_shared_get_of_nothing(deploykit: Program, site: Path) -> None:
    """A file that is not there is exit code 2 and names the verb that lists what is."""
    ended = deploykit("shared", "get", "production", "nope")
    assert ended.code == 2
    assert "deploykit shared list production" in ended.err
    assert ended.out == ""


def unpinned() -> None:
    """Take the host key out of `deploy.py`."""
    deploy = Path("deploy.py")
    deploy.write_text(re.sub(r", host_key='[^']*'", "", deploy.read_text()))


def test_unknown_key_is_refused_and_trust_mends_it(
    deploykit: Program, site: Path, home: Path
) -> None:
    """An unknown host is refused naming trust, which stores nothing but what was compared."""
    unpinned()
    refused = deploykit("status", "production")
    assert refused.code == 2
    assert "deploykit trust vps" in refused.err
    fingerprint = refused.err.partition("SHA256:")[2].partition(")")[0]
    unasked = deploykit("trust", "vps")
    assert unasked.code == 2
    assert "--yes" in unasked.err
    wrong = deploykit("trust", "vps", "--fingerprint", "SHA256:wrong")
    assert wrong.code == 2
    assert not (home / ".ssh" / "known_hosts").exists()
    stored = deploykit("trust", "vps", "--fingerprint", f"SHA256:{fingerprint}")
    assert stored.code == 0, stored.err
    assert deploykit("status", "production").code == 0
    assert "knows it already" in deploykit("trust", "vps").out


def test_a_changed_key_is_never_stored(deploykit: Program, site: Path, home: Path) -> None:
    """A host whose known key is another one is refused, even with --yes."""
    unpinned()
    shown = deploykit("trust", "vps", "--yes").out
    name = shown.partition(": ")[0]
    file = home / ".ssh" / "known_hosts"
    other = b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))).decode()
    file.write_text(f"{name} ssh-ed25519 {other}\n")
    before = file.read_text()
    ended = deploykit("trust", "vps", "--yes")
    assert ended.code == 2
    assert "CHANGED" in ended.err
    assert file.read_text() == before


def test_a_pinned_key_needs_no_trust(deploykit: Program, site: Path, home: Path) -> None:
    """Where `deploy.py` pins the key, trust compares and stores nothing."""
    ended = deploykit("trust", "vps")
    assert ended.code == 0
    assert "pins this key" in ended.out
    assert not (home / ".ssh").exists()


SHARED = """
from dataclasses import dataclass

from deploykit import Environment, Host, Pipeline
from deploykit.databases import SQLite
from deploykit.findings import Finding
from deploykit.stages import Backup


def host(name):
    return HOST


@dataclass(frozen=True)
class Own:
    name: str = "own"

    def plan(self, ctx):
        raise ValueError("odd")

    def apply(self, ctx, plan):
        pass

    undo = apply

    def check(self, ctx):
        yield Finding.warning("not today", "wait")


def site(root):
    return Pipeline(app="site", root=root, stages=[Backup(SQLite("/tmp/one.db")), Own()])


staging = Environment(site(ROOT + "/a"), hosts=[host("one")], shared_database=MAY)
production = Environment(site(ROOT + "/b"), hosts=[host("two")], shared_database=MAY)
"""


@pytest.mark.parametrize("may", [False, True])
def test_check_refuses_one_database_for_two(deploykit: Program, site: Path, may: bool) -> None:
    """Two environments with one database are a problem, unless both say that they share it."""
    deploy = Path("deploy.py")
    line = next(line for line in deploy.read_text().splitlines() if line.startswith("host = "))
    host = line.removeprefix("host = ").replace("name='vps'", "name=name")
    text = SHARED.replace("ROOT", repr(str(site))).replace("MAY", repr(may))
    deploy.write_text(text.replace("HOST", host))
    findings = json.loads(deploykit("check", "production", "--json").out)["findings"]
    (found,) = [f for f in findings if "use one database" in f["what"]]
    assert found["severity"] == ("ok" if may else "problem")
    asked = {"severity": "warning", "what": "own: not today", "mend": "wait", "host": "two"}
    assert asked in findings
    assert any("own cannot be planned: ValueError: odd" in f["what"] for f in findings)
