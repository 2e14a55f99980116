"""systemd units as values: what is read of them, asked of them, and allowed to us."""

from __future__ import annotations

import pytest

from deploykit.errors import ConfigurationError
from deploykit.layout import Layout
from deploykit.services import Place, Systemd
from deploykit.services.base import Verb
from deploykit.services.rights import rule

PLACE = Place(Layout("/srv/shop"), "one")
SHOWN = """
Type=simple
LoadState=loaded
ActiveState={active}
SubState={sub}
Result={result}
MainPID={main}
NRestarts={restarts}
ExecMainCode={code}
ExecMainStatus={status}
WorkingDirectory=/srv/shop/current
ExecStart={{ path=/usr/bin/python3 ; argv[]=/usr/bin/python3 app.py ; }}
User=app
process=7 1 1001
"""
RUNNING = {
    "active": "active",
    "sub": "running",
    "result": "success",
    "main": 7,
    "restarts": 0,
    "code": 0,
    "status": 0,
}


def shown(**changed: object) -> str:
    """Return what systemd says of a running unit, but for what has *changed*."""
    return SHOWN.format(**{**RUNNING, **changed})


def test_a_running_unit() -> None:
    """State, main process and places are taken from systemd's own words."""
    facts = Systemd("shop.service").read(shown())
    assert (facts.state, facts.mains, facts.account) == ("active", (7,), "app")
    assert facts.places[0] == "/srv/shop/current"
    assert facts.up
    assert not facts.processless


@pytest.mark.parametrize(
    ("changed", "state", "words"),
    [
        (
            {"active": "failed", "sub": "failed", "result": "exit-code", "code": 1, "status": 3},
            "failed",
            "exit code 3",
        ),
        (
            {"active": "failed", "sub": "failed", "result": "signal", "code": 2, "status": 9},
            "failed",
            "signal 9",
        ),
        ({"active": "failed", "result": "start-limit-hit"}, "failed", "start-limit-hit"),
        ({"active": "inactive", "sub": "dead", "main": 0}, "stopped", "inactive (dead)"),
        (
            {"active": "activating", "sub": "auto-restart", "main": 0, "restarts": 4},
            "starting",
            "restarted 4 times",
        ),
    ],
)
def test_a_unit_that_is_down(changed: dict[str, object], state: str, words: str) -> None:
    """Why it is down is said in systemd's own words."""
    facts = Systemd("shop.service").read(shown(**{"main": 0, **changed}))
    assert facts.state == state
    assert words in facts.said
    assert not facts.up


@pytest.mark.parametrize("name", ["", "-x.service", "a b", "shop*", "a\nb", "x;y", "../x"])
def test_not_a_unit(name: str) -> None:
    """What is not the name of one unit is refused where it is written."""
    with pytest.raises(ConfigurationError):
        Systemd(name)


@pytest.mark.parametrize("name", ["shop", "shop@1.service", r"mnt-a\x20b.mount", "x_y.timer"])
def test_a_unit(name: str) -> None:
    """Templates' instances and escaped names are units."""
    assert Systemd(name).label == name


def test_the_rules_of_sudo() -> None:
    """One line a command, exactly the commands that are used, and none for a user's own units."""
    verbs: frozenset[Verb] = frozenset({"restart", "stop"})
    program = "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl"
    assert Systemd("shop.service").sudo_rules("deploy", verbs) == (
        f"{program} restart shop.service",
        f"{program} stop shop.service",
        f"{program} reset-failed shop.service",
    )
    assert Systemd("shop.service", reload=True).sudo_rules("deploy", verbs) == (
        f"{program} reload shop.service",
        f"{program} start shop.service",
        f"{program} stop shop.service",
        f"{program} reset-failed shop.service",
    )
    assert Systemd("shop.service", user=True).sudo_rules("deploy", verbs) == ()


def test_a_rule_is_escaped() -> None:
    """What means something to sudo is written so that it means itself."""
    line = rule("deploy", "/usr/bin/systemctl", ("restart", r"a\x2d:b=c,d.service"))
    assert line.endswith(r"restart a\\x2d\:b\=c\,d.service")


def test_a_reload_has_no_identity() -> None:
    """That the main process is the same says nothing of a unit that is reloaded."""
    assert Systemd("shop.service").identity_script(PLACE)
    assert not Systemd("shop.service", reload=True).identity_script(PLACE)
