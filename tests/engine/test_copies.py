"""The copies of journals on the operator's machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit.engine import api, copies
from deploykit.engine.journal import History
from tests.engine.conftest import Site

RUN = "20261104T101512Z-0badcafe"


def test_a_run_leaves_a_copy_that_can_be_looked_at_without_its_host(site: Site) -> None:
    """The same records as on the host, for their owner alone."""
    shop = site.environment()
    done = shop.run()
    assert done.ok
    told = api.history(shop, done.run)
    assert api.history(shop, done.run, copied=True) == told
    assert [run.run for run in api.runs(shop, copied=True)] == [done.run]
    folder = copies.folder_of(shop.name) / done.run
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_the_host_wins(home: Path) -> None:
    """What is read from a host replaces what was copied before; the oldest copies go."""
    for number in range(copies.KEEP + 5):
        opening = {"kind": "run", "hosts": ["web"]}
        copies.keep("shop", History(f"run-{number:04}", {"web": (opening,)}))
    confirmed = {"kind": "confirmed"}
    copies.keep("shop", History("run-0204", {"web": (opening, confirmed), "db/1": ()}))
    kept = copies.kept("shop")
    assert (len(kept), kept[0].run, kept[0].state) == (copies.KEEP, "run-0204", "confirmed")


def test_a_copy_that_cannot_be_written_stops_nothing(
    site: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state directory is a file here; the deploy goes on."""
    (home / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "file"))
    assert site.environment().run().ok
