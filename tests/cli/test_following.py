"""Following what services print, on a real SSH server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploykit import loader
from deploykit.cli.following import Source, follow, sources
from deploykit.errors import ConfigurationError

if TYPE_CHECKING:
    from deploykit.environment import Environment
    from tests.cli.conftest import Program


def production() -> Environment:
    """Return the environment of the project we are in."""
    return loader.load(Path("deploy.py"))["production"]


def test_lines_come_whole_and_clean(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every line is printed whole, without what could steer a terminal, to the last one."""
    script = "printf 'one\\ntw'; printf 'o\\n\\033[31mthree'"
    assert follow(production(), [Source("app", script)]) == 0
    assert capfd.readouterr().out == "one\ntwo\nthree\n"


def test_secrets_of_the_env_file_are_scrubbed(
    site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An application that prints its own password does not print it here."""
    deploy = Path("deploy.py")
    deploy.write_text(deploy.read_text().replace("app='site'", "app='site', env_file='.env'"))
    site.mkdir()
    (site / ".env").write_text("DB_PASSWORD=hunter22\n")
    follow(production(), [Source("app", "echo connecting with hunter22")])
    assert capfd.readouterr().out == "connecting with ***\n"


def test_what_cannot_be_read_fails(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A journal that cannot be read is exit code 1, with what the host said."""
    assert follow(production(), [Source("app.service", "echo no right >&2; exit 7")]) == 1
    said = capfd.readouterr().err
    assert "no right" in said
    assert "vps: app.service cannot be read (exit 7)" in said


def test_without_services_a_unit_must_be_named(deploykit: Program, site: Path) -> None:
    """A pipeline that restarts nothing has no journal of its own."""
    ended = deploykit("logs", "production")
    assert ended.code == 2
    assert "--unit" in ended.err


@dataclass(frozen=True)
class Unit:
    """A systemd unit as a stage holds it."""

    unit: str
    user: bool = False

    @property
    def label(self) -> str:
        """Its name."""
        return self.unit


@dataclass(frozen=True)
class Supervised:
    """A service of another kind."""

    label: str = "worker"

    def log_script(self) -> str:
        """Print its last lines."""
        return "tail log"

    def where_to_look(self) -> str:
        """Say where a person looks."""
        return "supervisorctl tail worker"


def test_sources_are_the_services_that_are_restarted(site: Path) -> None:
    """Units of the system share one journal, the user's own have another, others show their end."""

    @dataclass(frozen=True)
    class Restarting:
        """A stage that restarts services."""

        services: tuple[object, ...]
        name: str = "restart"

    environment = production()
    stage = Restarting(
        (Unit("a.service"), Unit("b.service"), Unit("u.service", True), Supervised())
    )
    object.__setattr__(environment.pipeline, "stages", (stage,))
    system, own, other = sources(environment, (), lines=7, following=True)
    assert system.label == "a.service, b.service"
    assert "-n 7 -u a.service -u b.service -f" in system.script
    assert "journalctl --user" in own.script
    assert (other.label, other.script) == ("worker", "tail log")
    assert "supervisorctl" in other.elsewhere


def test_named_units_replace_the_services(site: Path) -> None:
    """A unit's name is one word, whatever it contains."""
    (source,) = sources(production(), ("x; reboot",), lines=1, following=False)
    assert "-u 'x; reboot'" in source.script
    assert " -f" not in source.script


def test_no_service_at_all(site: Path) -> None:
    """A pipeline without services is refused before a host is asked."""
    with pytest.raises(ConfigurationError):
        sources(production(), (), lines=1, following=True)
