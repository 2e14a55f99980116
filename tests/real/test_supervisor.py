"""Programs of a real supervisord, as Debian installs it: its socket is root's alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit.errors import ConfigurationError
from deploykit.services import Supervisor
from deploykit.stages import Pause, Restart, Shell
from tests.farm import Host, eventually
from tests.real.service_site import Site, fresh_site

PROGRAM = """
[program:web]
user={user}
command=/usr/bin/python3 /srv/shop/current/app.py 8000
directory=/srv/shop/current
autostart=false
startsecs=0
startretries=0
"""
RULES = "deploy ALL=(root) NOPASSWD: /usr/bin/supervisorctl {} web"
BREAK = Shell("break", do="exit 7", undo=":")


@pytest.fixture
def site(host: Host, tmp_path: Path) -> Site:
    """Return a site whose page supervisord serves, with the rights to restart it."""
    site = fresh_site(host, tmp_path)
    configure(site, "app")
    rules = [RULES.format(verb) for verb in ("status", "restart", "start", "stop")]
    host.sudoers("\n".join(rules))
    return site


def configure(site: Site, user: str) -> None:
    """Start supervisord with a program that runs as *user*."""
    host = site.host
    host.root("systemctl stop supervisor")
    host.write("/etc/supervisor/conf.d/web.conf", PROGRAM.format(user=user))
    host.root("systemctl start supervisor")
    eventually(lambda: host.root("supervisorctl pid", check=False).returncode == 0)


@pytest.mark.parametrize("user", ["app", "deploy"])
def test_a_program_is_proved(site: Site, user: str) -> None:
    """Two deploys each end with the new release's process serving, whoever's it is."""
    configure(site, user)
    shop = site.environment(Restart(Supervisor("web")))
    for _ in range(2):
        result = shop.run()
        assert result.ok, result.error
        assert eventually(site.page) == result.release


def test_a_program_that_does_not_come_up(site: Site) -> None:
    """A release that dies fails the run, with its log, and the one before serves."""
    shop = site.environment(Restart(Supervisor("web"), within=5))
    first = shop.run()
    assert first.ok, first.error
    site.source("crash-late")
    result = shop.run()
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert eventually(site.page) == first.release


def test_a_failed_first_deploy(site: Site) -> None:
    """The program is stopped and there is no `current`, as before."""
    result = site.environment(Restart(Supervisor("web")), BREAK).run()
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert (site.current(), site.page()) == ("", "")


def test_a_paused_program(site: Site) -> None:
    """It is stopped between the two stages, and up again after a failed run."""
    web = Supervisor("web")
    look = Shell("look", do="sudo -n supervisorctl status web >/srv/shop/seen || :", undo=":")
    stages = (Pause(web), look, Restart(web))
    first = site.environment(*stages).run()
    assert first.ok, first.error
    result = site.environment(*stages, BREAK).run(again=True)
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert "STOPPED" in site.host.read("/srv/shop/seen")
    assert eventually(site.page) == first.release


def test_a_missing_rule(site: Site) -> None:
    """The lines that are missing are named before anything is touched, and are enough."""
    site.host.root("rm -f /etc/sudoers.d/*")
    shop = site.environment(Restart(Supervisor("web")))
    with pytest.raises(ConfigurationError, match="no right to control web") as refused:
        shop.run()
    lines = [line.strip() for line in str(refused.value).splitlines() if "NOPASSWD" in line]
    site.host.sudoers("\n".join(lines))
    result = shop.run()
    assert result.ok, result.error


def test_an_unknown_program(site: Site) -> None:
    """A program that supervisord does not know is refused before anything is touched."""
    site.host.sudoers("\n".join(RULES.replace("web", "wob").format(v) for v in ("status",)))
    site.host.root("sed -i 's/chmod=0700/chmod=0777/' /etc/supervisor/supervisord.conf")
    configure(site, "app")
    with pytest.raises(ConfigurationError, match="supervisord knows no program wob"):
        site.environment(Restart(Supervisor("wob"))).run()
