"""Services under a real systemd: restarted, proved, and brought back."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit import Secret
from deploykit.errors import ConfigurationError
from deploykit.services import Systemd
from deploykit.stages import Pause, Restart, Shell
from tests.farm import Host, eventually
from tests.real.service_site import PORT, VERBS, Site, fresh_site

BREAK = Shell("break", do="exit 7", undo=":")


@pytest.fixture
def site(host: Host, tmp_path: Path) -> Site:
    """Return a site whose unit runs as another user, with the rights to restart it."""
    site = fresh_site(host, tmp_path)
    site.unit()
    site.allow(*VERBS)
    return site


def test_another_users_service_is_proved(site: Site) -> None:
    """Two deploys each end with the new release's process serving, though we may not look in."""
    shop = site.environment(Restart("shop.service"))
    for _ in range(2):
        result = shop.run()
        assert result.ok, result.error
        assert site.serves(result.release)
    service = next(m for m in result.table[site.host.name] if m.kind == "service")
    assert (service.name, service.is_, service.proven) == ("shop.service", result.release, True)


def test_our_own_users_service_is_proved(site: Site) -> None:
    """A service of the deploy user is proved by its working directory."""
    site.unit(user="deploy")
    result = site.environment(Restart("shop.service")).run()
    assert result.ok, result.error
    assert site.serves(result.release)


@pytest.mark.parametrize("mode", ["crash", "crash-late"])
@pytest.mark.parametrize("restarts", ["no", "always"])
def test_a_release_that_does_not_come_up(site: Site, mode: str, restarts: str) -> None:
    """A process that dies, at once or a little later, fails the run, and the old one serves."""
    site.unit(more=f"Restart={restarts}\nRestartSec=300ms\nStartLimitIntervalSec=0")
    shop = site.environment(Restart("shop.service", within=5))
    first = shop.run()
    assert first.ok, first.error
    site.source(mode)
    result = shop.run()
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert "shop.service" in str(result.error)
    assert "journalctl -u shop.service" in str(result.error)
    assert site.current() == f"releases/{first.release}"
    assert site.serves(first.release)


def test_an_unknown_unit(site: Site) -> None:
    """A unit that systemd does not know is refused before anything is touched."""
    with pytest.raises(ConfigurationError, match=r"knows no unit shoop\.service"):
        site.environment(Restart("shoop.service")).run()
    assert site.host.root("ls -A /srv/shop/releases 2>/dev/null || :").stdout == ""


def test_a_missing_sudo_rule(site: Site) -> None:
    """The exact lines that are missing are named, and with them it works."""
    site.allow("start")
    shop = site.environment(Restart("shop.service"))
    with pytest.raises(ConfigurationError, match="no right to control") as refused:
        shop.run()
    lines = [line.strip() for line in str(refused.value).splitlines() if "NOPASSWD" in line]
    assert "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart shop.service" in lines
    assert not any(line.endswith("ALL") for line in lines)
    site.host.sudoers("\n".join(lines))
    assert shop.run().ok


def test_no_right_to_reset_failures(site: Site) -> None:
    """The right to forget failed starts is not needed."""
    site.allow("restart", "stop")
    result = site.environment(Restart("shop.service")).run()
    assert result.ok, result.error


def test_sudo_with_a_password(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong sudo password is refused before anything is touched; the right one works."""
    site.host.root("rm -f /etc/sudoers.d/*")
    site.host.sudo_password("hunter2")
    monkeypatch.setenv("SUDO_PASSWORD", "not-the-password")
    shop = site.environment(Restart("shop.service"), sudo=Secret.from_env("SUDO_PASSWORD"))
    with pytest.raises(ConfigurationError, match="sudo password is wrong"):
        shop.run()
    monkeypatch.setenv("SUDO_PASSWORD", "hunter2")
    result = shop.run()
    assert result.ok, result.error
    assert site.serves(result.release)


def test_the_start_limit(site: Site) -> None:
    """A unit that was restarted so often that systemd refuses is restarted all the same."""
    shop = site.environment(Restart("shop.service"))
    assert shop.run().ok
    site.host.root("for i in 1 2 3 4 5 6 7; do systemctl restart shop.service || :; done")
    assert site.state() == "failed"
    result = shop.run()
    assert result.ok, result.error


RELOADS = (
    "ExecStart=\nExecStart=/usr/bin/python3 master.py 8000 --chdir /srv/shop/current\n"
    "ExecReload=kill -HUP $MAINPID"
)


def test_a_reload_is_proved_by_its_workers(site: Site) -> None:
    """With reload=True the main process stays, and the worker is the new release's."""
    site.unit(more=RELOADS)
    site.allow("reload", "start", "stop", "reset-failed")
    shop = site.environment(Restart(Systemd("shop.service", reload=True)))
    first = shop.run()
    assert first.ok, first.error
    master = site.main()
    second = shop.run()
    assert second.ok, second.error
    assert site.main() == master
    assert site.serves(second.release)


def test_a_reload_is_undone(site: Site) -> None:
    """A failure later in the run reloads the workers of the release before."""
    site.unit(more=RELOADS)
    site.allow("reload", "start", "stop", "reset-failed")
    restart = Restart(Systemd("shop.service", reload=True))
    first = site.environment(restart).run()
    assert first.ok, first.error
    assert site.environment(restart, BREAK).run(again=True).state == "rolled_back"
    assert site.serves(first.release)


def test_a_unit_that_cannot_reload(site: Site) -> None:
    """reload=True for a unit without ExecReload= is refused before anything is touched."""
    with pytest.raises(ConfigurationError, match="ExecReload"):
        site.environment(Restart(Systemd("shop.service", reload=True))).run()


def test_a_user_unit(site: Site) -> None:
    """A unit of the deploy user's own systemd is proved, and needs no sudo at all."""
    site.host.root("rm -f /etc/sudoers.d/*; loginctl enable-linger deploy")
    eventually(lambda: site.host.exists("/run/user/1000/systemd/private"))
    text = "[Service]\nWorkingDirectory=/srv/shop/current\nExecStart=/usr/bin/python3 app.py 8000\n"
    folder = "/home/deploy/.config/systemd/user"
    site.host.root(f"runuser -u deploy -- mkdir -p {folder}")
    site.host.write(f"{folder}/shop.service", text, owner="deploy:deploy")
    site.host.ssh("XDG_RUNTIME_DIR=/run/user/1000 systemctl --user daemon-reload")
    restart = Restart(Systemd("shop.service", user=True))
    first = site.environment(restart).run()
    assert first.ok, first.error
    assert site.serves(first.release)
    assert site.environment(restart, BREAK).run(again=True).state == "rolled_back"
    assert site.serves(first.release)
    site.host.ssh("XDG_RUNTIME_DIR=/run/user/1000 systemctl --user stop shop.service")


def test_a_failed_first_deploy(site: Site) -> None:
    """The service is stopped and there is no `current`, as before."""
    result = site.environment(Restart("shop.service"), BREAK).run()
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert (site.current(), site.state(), site.page()) == ("", "inactive", "")


def test_a_failure_after_the_restart(site: Site) -> None:
    """Link and process go back to the release before."""
    first = site.environment(Restart("shop.service")).run()
    assert first.ok, first.error
    result = site.environment(Restart("shop.service"), BREAK).run(again=True)
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert site.serves(first.release)
    assert site.current() == f"releases/{first.release}"


def test_a_stopped_service_is_stopped_again(site: Site) -> None:
    """Undo leaves a service stopped that was stopped before, whatever the link says."""
    shop = site.environment(Restart("shop.service"))
    assert shop.run().ok
    site.host.root("systemctl stop shop.service")
    assert site.environment(Restart("shop.service"), BREAK).run(again=True).exit_code == 1
    assert site.state() == "inactive"


def test_nothing_can_be_proved(site: Site) -> None:
    """Another user's service outside of `current` fails, unless a page or a word vouches for it."""
    more = "WorkingDirectory=/\nExecStart=\nExecStart=/usr/local/bin/shop"
    site.host.write(
        "/usr/local/bin/shop",
        f"#!/bin/sh\ncd /srv/shop/current && exec python3 app.py {PORT}\n",
        mode=0o755,
    )
    site.unit(more=more)
    result = site.environment(Restart("shop.service", within=2)).run()
    assert result.exit_code == 1
    assert "neither the service's working directory nor its command" in str(result.error)
    page = f"http://127.0.0.1:{PORT}/"
    result = site.environment(Restart("shop.service", url=page)).run(again=True)
    assert result.ok, result.error
    result = site.environment(Restart("shop.service", unproven=True)).run(again=True)
    assert result.ok, result.error
    service = next(m for m in result.table[site.host.name] if m.kind == "service")
    assert not service.proven


def test_a_paused_service(site: Site) -> None:
    """It is down between the two stages, up after a run, and up again after a failed one."""
    look = Shell("look", do="systemctl is-active shop.service >/srv/shop/seen || :", undo=":")
    stages = (Pause("shop.service"), look, Restart("shop.service"))
    first = site.environment(*stages).run()
    assert first.ok, first.error
    result = site.environment(*stages, BREAK).run(again=True)
    assert (result.exit_code, result.state) == (1, "rolled_back"), result.error
    assert site.host.read("/srv/shop/seen") == "inactive\n"
    assert site.serves(first.release)


def test_a_socket_would_end_the_pause(site: Site) -> None:
    """A pause is refused where a socket would start the service again at the next request."""
    site.host.unit("shop.socket", "[Socket]\nListenStream=9999\n")
    site.host.root("systemctl start shop.socket")
    shop = site.environment(Pause("shop.service"), Restart("shop.service"))
    with pytest.raises(ConfigurationError, match=r"shop\.socket starts it"):
        shop.run()
