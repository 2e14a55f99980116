"""`HealthCheck`: a host asks itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploykit.errors import CheckFailed, ConfigurationError
from deploykit.stages.healthcheck import HealthCheck
from tests.stages.harness import Bench
from tests.stages.pages import Pages, serving


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """Serve the pages."""
    with serving() as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return this machine as a host."""
    return Bench(tmp_path / "shop")


def check(bench: Bench, pages: Pages, path: str, **options: Any) -> None:
    """Check the health of the server of the pages."""
    stage = HealthCheck(port=pages.server_port, path=path, **{"within": 0, **options})
    bench.apply(stage, stage.plan(bench.planning()))


def test_a_healthy_service(bench: Bench, pages: Pages) -> None:
    """The right status is enough."""
    check(bench, pages, "/fine")


def test_a_service_that_is_starting(bench: Bench, pages: Pages) -> None:
    """A wrong status is asked for again."""
    pages.asked.clear()
    check(bench, pages, "/third", within=30)


def test_a_sick_service(bench: Bench, pages: Pages) -> None:
    """The error names page, host and status."""
    with pytest.raises(CheckFailed, match=r"/broken on bench: status 500 instead of 200"):
        check(bench, pages, "/broken")


def test_a_redirect_is_an_answer(bench: Bench, pages: Pages) -> None:
    """It is not followed to another server."""
    check(bench, pages, "/moved", status=302)


def test_a_service_that_insists_on_its_name(bench: Bench, pages: Pages) -> None:
    """The Host header can be set."""
    check(bench, pages, "/named", host="shop.example")
    with pytest.raises(CheckFailed, match="status 400"):
        check(bench, pages, "/named")


def test_no_program_to_ask_with(
    bench: Bench, pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused at planning, with what to install."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "cat"):
        (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ConfigurationError, match="neither curl nor python3 nor wget"):
        check(bench, pages, "/fine")


@pytest.mark.parametrize(
    "options", [{"port": 0}, {"port": 70000}, {"path": "healthz"}, {"path": "/a b"}, {"host": " "}]
)
def test_what_cannot_be_asked(options: dict[str, Any]) -> None:
    """A mistake is refused where it is written."""
    with pytest.raises(ConfigurationError):
        HealthCheck(**{"port": 80, **options})
