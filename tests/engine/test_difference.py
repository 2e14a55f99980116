"""What an edited `deploy.py` says otherwise than the run, as a reader would put it."""

from __future__ import annotations

from deploykit.databases import SQLite
from deploykit.engine.difference import differences
from deploykit.stage import AnyStage
from deploykit.stages import Migrate, Pause, Restart, Shell, Transfer


def by_name(*stages: AnyStage) -> dict[str, AnyStage]:
    """Return *stages* as a run has them."""
    return {stage.name: stage for stage in stages}


def test_nothing_differs_from_itself() -> None:
    """Also where a stage holds others' values."""
    stages = by_name(Transfer("app", shared=["media/"]), Restart("a.service", url="http://x/"))
    assert differences(stages, dict(stages)) == ()


def test_what_was_edited_is_named_with_both_values() -> None:
    """Values within stages, stages that are only on one side, and another order."""
    run = by_name(
        Transfer("app", shared=["media/"]),
        Pause("a.service"),
        Migrate("alembic.ini", SQLite("db"), on_rollback="downgrade"),
        Shell("cache", do="make cache"),
    )
    declared = by_name(
        Transfer("app", shared=["media/", ".env"]),
        Migrate("alembic.ini", SQLite("db"), on_rollback="restore"),
        Pause("b.service"),
        Shell("warm", do="make warm"),
    )
    found = differences(run, declared)
    assert found[0] == "cache: only in the run"
    assert found[1] == "warm: only in deploy.py"
    assert "transfer: shared is ['media/'] in the run, ['media/', '.env'] in deploy.py" in found
    assert any(
        "pause: " in line and "'a.service'" in line and "'b.service'" in line for line in found
    )
    assert "migrate: on_rollback is 'downgrade' in the run, 'restore' in deploy.py" in found
    assert found[-1] == "the order in the run is transfer, pause, migrate"


def test_another_kind_of_stage_under_the_same_name() -> None:
    """Its class and what only one of them has."""
    found = differences(by_name(Pause("a.service", name="x")), by_name(Shell("x", do="true")))
    assert "x: stage (class) is 'Pause' in the run, 'Shell' in deploy.py" in found
    assert "x: do is not there in the run, 'true' in deploy.py" in found
