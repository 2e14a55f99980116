"""`Prune`: what goes, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit import Environment, Host, Pipeline
from deploykit.errors import ConfigurationError
from deploykit.release import Ledger, LedgerLine, ReleaseState
from deploykit.stages import Prune, Publish, Transfer
from deploykit.stages.prune import removable


def ledger(**states: ReleaseState) -> Ledger:
    """Return a ledger of releases in these states, oldest first."""
    return Ledger(tuple(LedgerLine(name, name, state, name) for name, state in states.items()))


def test_the_newest_good_ones_stay() -> None:
    """With the new release there are `keep` good ones; older ones go."""
    good = ledger(a="good", b="good", c="good", d="good")
    assert removable(good, "d", 3) == ("a", "b")
    assert removable(good, "d", 5) == ()


def test_the_live_one_stays_however_old() -> None:
    """After a rollback the live release may be an old one; it is the way back."""
    assert "a" not in removable(ledger(a="good", b="good", c="good"), "a", 2)


def test_failed_ones_do_not_count() -> None:
    """Failed releases push no good one out, and stay for inspection until they are old."""
    mixed = ledger(a="good", b="bad", c="good", d="bad", e="bad")
    assert removable(mixed, "c", 3) == ()
    assert removable(mixed, "c", 2) == ("a", "b")


def test_nothing_was_ever_deployed() -> None:
    """The first deploy has nothing to remove."""
    assert removable(ledger(), "", 2) == ()
    assert removable(ledger(a="bad"), "", 2) == ()


def test_one_is_not_enough() -> None:
    """Keeping only the live release would leave no way back."""
    with pytest.raises(ConfigurationError, match="at least 2"):
        Prune(keep=1)


def test_old_releases_go_once_the_run_is_confirmed(tmp_path: Path) -> None:
    """Four deploys with keep=2 leave two releases and their manifests."""
    root, project = tmp_path / "root", tmp_path / "project"
    (project / "app").mkdir(parents=True)
    pipeline = Pipeline(
        app="shop", root=str(root), stages=[Transfer("app"), Publish(), Prune(keep=2)]
    )
    shop = Environment(pipeline, hosts=[Host("local:", name="h")], name="p", project=project)
    made = []
    for number in range(4):
        (project / "app" / "page").write_text(str(number))
        result = shop.run()
        assert result.ok, result.error
        made.append(result.release)
    kept = sorted(path.name for path in (root / "releases").iterdir())
    assert kept == sorted(made[2:])  # two of one second sort by their contents
    manifests = (root / ".deploykit" / "manifests").iterdir()
    assert sorted(path.stem for path in manifests) == kept
    assert (root / "current").readlink() == Path("releases") / made[3]
