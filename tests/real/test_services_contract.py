"""The stages that publish, stop, start and ask, against the contract, under a real systemd."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit.stages import HealthCheck, Pause, Publish, Restart, SmokeTest
from deploykit.testing import Bench, StageContract
from tests.farm import Host, eventually
from tests.real.service_site import PORT, VERBS, Site, fresh_site


class Shop:
    """A bench around a site: link, unit state and the release that answers must be restored."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def snapshot(self) -> tuple[str, str, str]:
        """Return what must be restored, once the page answers what the unit's state promises."""
        state = self.site.state()
        page = self.site.page()
        if state == "active":
            page = eventually(self.site.page)
        return (self.site.current(), state, page)


@pytest.fixture
def site(host: Host, tmp_path: Path) -> Site:
    """Return a site with a unit of another user's and the rights to control it."""
    site = fresh_site(host, tmp_path)
    site.unit()
    site.allow(*VERBS)
    return site


@pytest.fixture
def deployed(site: Site) -> Site:
    """Return a site on which a release is published and runs."""
    result = site.environment(Restart("shop.service")).run()
    assert result.ok, result.error
    return site


class TestFirstRestart(StageContract):
    """`Restart` where nothing was ever published."""

    @pytest.fixture
    def bench(self, site: Site) -> Bench:
        """Return the bench."""
        return Bench(site.environment(Restart("shop.service")), "restart", Shop(site).snapshot)


class TestRestart(StageContract):
    """`Restart` where a release is published and runs."""

    @pytest.fixture
    def bench(self, deployed: Site) -> Bench:
        """Return the bench."""
        shop = deployed.environment(Restart("shop.service"))
        return Bench(shop, "restart", Shop(deployed).snapshot)


class TestPause(StageContract):
    """`Pause` of a service that runs."""

    @pytest.fixture
    def bench(self, deployed: Site) -> Bench:
        """Return the bench."""
        shop = deployed.environment(Pause("shop.service"), Restart("shop.service"))
        return Bench(shop, "pause", Shop(deployed).snapshot)


class TestRestartAfterPause(StageContract):
    """`Restart` of a paused service: its undo leaves it stopped."""

    @pytest.fixture
    def bench(self, deployed: Site) -> Bench:
        """Return the bench."""
        shop = deployed.environment(Pause("shop.service"), Restart("shop.service"))
        return Bench(shop, "restart", Shop(deployed).snapshot)


class TestPublish(StageContract):
    """`Publish` of another link than `current`, which was never there."""

    @pytest.fixture
    def bench(self, site: Site) -> Bench:
        """Return the bench."""
        links = "find /srv/shop -maxdepth 1 -type l -printf '%p %l\\n'"
        return Bench(
            site.environment(Publish("live", name="live")),
            "live",
            lambda: site.host.root(links).stdout,
        )


class TestChecks(StageContract):
    """`HealthCheck` and `SmokeTest` change nothing."""

    @pytest.fixture(params=["health-check", "smoke-test"])
    def bench(self, deployed: Site, request: pytest.FixtureRequest) -> Bench:
        """Return the bench."""
        url = f"http://{deployed.host.ip}:{PORT}/"
        shop = deployed.environment(HealthCheck(port=PORT), SmokeTest(url))
        return Bench(shop, request.param, Shop(deployed).snapshot)
