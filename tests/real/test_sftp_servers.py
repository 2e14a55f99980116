"""Whole runs over SFTP servers that are not OpenSSH's of today, from the first to a rollback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploykit import Environment, Host, Pipeline
from deploykit.errors import ConfigurationError
from deploykit.stage import AnyStage
from deploykit.stages import Prune, Publish, SmokeTest, Transfer
from deploykit.transport.sftp.requests import COPY_DATA
from tests.transport.other_servers import SERVERS
from tests.transport.sftp_servers import ADDRESS, Login

# Those between which and us something stands are tried by tests/transport/test_files.py.
WHOLE = ("openssh of old", "openssh 7", "asyncssh", "proftpd")
NOBODY = SmokeTest("http://127.0.0.1:1/", within=0)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Environment]:
    """Return a function that makes an environment of a login."""
    (tmp_path / "public" / "css").mkdir(parents=True)
    (tmp_path / "public" / "css" / "site.css").write_text("body {}")

    def made(login: Login, page: str, *more: SmokeTest) -> Environment:
        (tmp_path / "public" / "index.html").write_text(page)
        key = (login.key.parent / "host.pub").read_text().strip()
        aim = Host(
            ADDRESS, port=login.port, user=login.user, identity=str(login.key), host_key=key,
            name="web", shell=False,
        )  # fmt: skip
        stages: list[AnyStage] = [
            Transfer("public", shared=["uploads/"]),
            Publish(link="public_html"),
            *more,
            Prune(keep=3),
        ]
        pipeline = Pipeline(app="site", root=f"{login.root}/site", stages=stages)
        return Environment(pipeline, hosts=[aim], name="production", project=tmp_path)

    return made


@pytest.mark.parametrize("name", WHOLE)
def test_a_site_is_deployed_and_goes_back(name: str, make: Callable[..., Environment]) -> None:
    """By hand and by itself; the link is relative, and what nobody changed is still there."""
    with SERVERS[name]() as login:
        site = login.here / "site"
        page = site / "public_html" / "index.html"
        first = make(login, "one").run()
        assert first.ok, first.error
        assert page.read_text() == "one"
        assert (site / "public_html").readlink() == Path("releases", first.release)
        planned = "\n".join(*make(login, "two").plan().stages[0].lines.values())
        assert ("send 1 of them" in planned) == (COPY_DATA not in login.lacks)
        second = make(login, "two").run()
        assert second.ok, second.error
        assert page.read_text() == "two"
        assert (page.parent / "css" / "site.css").read_text() == "body {}"
        failed = make(login, "three", NOBODY).run()
        assert (failed.exit_code, failed.state) == (1, "rolled_back"), failed.error
        assert page.read_text() == "two"
        back = make(login, "two").rollback(first.release)
        assert back.exit_code == 0, back.error
        assert page.read_text() == "one"
        assert (site / "public_html").readlink() == Path("releases", first.release)
        status = make(login, "one").status()
        assert status.hosts[0].release == first.release
        assert status.lock is None


def test_a_server_that_makes_no_links_is_refused(make: Callable[..., Environment]) -> None:
    """When the run is planned: nothing is touched but deploykit's own folder."""
    with SERVERS["without links"]() as login:
        with pytest.raises(ConfigurationError, match="makes no symbolic links"):
            make(login, "one").run()
        assert [path.name for path in (login.here / "site").iterdir()] == [".deploykit"]
        assert not (login.here / "site" / ".deploykit" / "lock").exists()
