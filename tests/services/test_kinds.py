"""The other kinds of services as values, and the choice of them."""

from __future__ import annotations

import pytest

from deploykit.errors import ConfigurationError
from deploykit.layout import Layout
from deploykit.services import Custom, Place, Service, Signal, Supervisor, Systemd, TouchFile
from deploykit.services.choosing import chosen

PLACE = Place(Layout("/srv/shop"), "one")


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ("status=web RUNNING pid 7, uptime 0:01:02\nmain=7\n", "active"),
        ("status=web STARTING\n", "starting"),
        ("status=web BACKOFF Exited too quickly\n", "starting"),
        ("status=web FATAL Exited too quickly\n", "failed"),
        ("status=web EXITED Nov 22 12:00 AM\n", "failed"),
        ("status=web STOPPED Not started\n", "stopped"),
        ("status=g:a RUNNING pid 7,\nstatus=g:b FATAL\nmain=7\n", "failed"),
        ("status=g:a RUNNING pid 7,\nstatus=g:b RUNNING pid 8,\nmain=7\nmain=8\n", "active"),
    ],
)
def test_a_program_of_supervisors(lines: str, state: str) -> None:
    """Its state is supervisor's word; a group is as well as its worst program."""
    assert Supervisor("web").read(lines).state == state


@pytest.mark.parametrize("program", ["web", "shop:web-1", "shop:*"])
def test_a_programs_name(program: str) -> None:
    """A program, a program of a group, and a whole group can be named."""
    assert Supervisor(program).label == program


@pytest.mark.parametrize("program", ["", "a b", "*", "-x", "a:b:c"])
def test_not_a_programs_name(program: str) -> None:
    """Anything else is refused where it is written."""
    with pytest.raises(ConfigurationError):
        Supervisor(program)


def test_supervisors_rules_of_sudo() -> None:
    """Looking needs a rule as well, and the configuration is part of each command."""
    rules = Supervisor("web", config="/etc/s.conf").sudo_rules("deploy", frozenset({"restart"}))
    start = "deploy ALL=(root) NOPASSWD: /usr/bin/supervisorctl -c /etc/s.conf"
    assert rules == (f"{start} status web", f"{start} restart web")


@pytest.mark.parametrize("name", ["SIGHUP", "hup", "", "1"])
def test_not_a_signal(name: str) -> None:
    """A signal is named as `kill -s` wants it."""
    with pytest.raises(ConfigurationError):
        Signal("app.pid", name)


def test_a_custom_service_before_the_first_deploy() -> None:
    """Its check is not asked about a release that is not there."""
    custom = Custom(restart="true", check="rm -rf /tmp/never")
    assert "never" not in custom.look_script(Place(PLACE.layout, ""))
    assert "never" in custom.look_script(PLACE)
    assert custom.read("").state == "stopped"


def test_a_custom_service_needs_both_commands() -> None:
    """An empty check would prove anything."""
    with pytest.raises(ConfigurationError):
        Custom(restart="true", check=" ")


def test_every_kind_is_a_service() -> None:
    """All kinds answer to the same questions; a word is a systemd unit."""
    given = [
        "shop.service",
        Supervisor("web"),
        Signal("app.pid"),
        TouchFile(),
        Custom(restart="a", check="b", name="c"),
    ]
    services = chosen("Restart", given)
    assert all(isinstance(service, Service) for service in services)
    assert services[0] == Systemd("shop.service")


@pytest.mark.parametrize("given", [(), (7,), ("a.service", "a.service"), (Systemd,)])
def test_what_cannot_be_restarted(given: tuple[object, ...]) -> None:
    """Nothing, something else, and one service twice are refused where they are written."""
    with pytest.raises(ConfigurationError):
        chosen("Restart", given)
