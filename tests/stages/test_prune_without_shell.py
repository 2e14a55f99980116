"""`Prune` where there is SFTP alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit.release import Ledger, LedgerLine
from deploykit.stages import Prune, Transfer
from tests.stages.without_shell import Site
from tests.transport.without_shell import Cut, Effects, Place

STAGE = Prune(keep=2)


@pytest.fixture
def site(place: Place, tmp_path: Path) -> Site:
    """Return a site with four good releases, the last of which is live."""
    site, transfer = Site(place), Transfer("source")
    closed = tmp_path / "source/closed"
    closed.mkdir(parents=True)
    (closed / "page").write_text("page")
    closed.chmod(0o500)
    site.pack(tmp_path / "source")
    made = []
    for _ in range(4):
        made.append(site.new_run())
        site.apply(transfer, site.plan(transfer))
    site.current = made[-1]
    site.ledger = Ledger(tuple(LedgerLine(name, name, "good", name) for name in made))
    return site


def left(site: Site) -> set[str]:
    """Return the names in the folders of releases and of manifests."""
    folders = (site.here / "releases", site.here / ".deploykit/manifests")
    return {path.name for folder in folders for path in folder.iterdir()}


def test_old_releases_go(site: Site) -> None:
    """With their manifests and times; one that is gone already is not named again."""
    names = [line.id for line in site.ledger.lines]
    plan = site.plan(STAGE)
    assert plan.remove == tuple(names[:3])
    for _ in range(2):
        site.apply(STAGE, plan)
        assert left(site) == {names[3], f"{names[3]}.json", f"{names[3]}.json.times"}
    assert site.plan(STAGE).remove == ()


def test_what_is_half_removed_is_no_release(site: Site) -> None:
    """Wherever it is cut; the next time it goes on."""
    names = [line.id for line in site.ledger.lines]
    plan, counted = site.plan(STAGE), Effects(2)
    with pytest.raises(Cut):
        site.apply(STAGE, plan, counted)
    assert f".{names[0]}.gone" in left(site)
    assert names[0] not in left(site)
    site.apply(STAGE, plan)
    assert left(site) == {names[3], f"{names[3]}.json", f"{names[3]}.json.times"}
