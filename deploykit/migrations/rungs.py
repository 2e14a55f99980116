"""How far a rollback must go for the data's sake: which rung, and what it would lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deploykit.errors import Refused
from deploykit.migrations.revision_file import RevisionFile

__all__ = ["CEILINGS", "Choice", "OnRollback", "Way", "choose"]

OnRollback = Literal["keep", "downgrade", "replay", "restore"]
Way = Literal["code", "keep", "downgrade", "restore"]
CEILINGS: dict[str, int] = {"keep": 2, "downgrade": 3, "replay": 4, "restore": 5}


@dataclass(frozen=True)
class Choice:
    """
    How a rollback goes.

    Args:
        rung: of the ladder.
        way: what is done about the schema.
        loses: what that would lose, in words.
    """

    rung: int
    way: Way
    loses: str


def choose(
    pending: Sequence[RevisionFile],
    on_rollback: str,
    *,
    target: bool,
    accept_loss: int | None,
    obstacle: str,
    fresh: bool = False,
) -> Choice:
    """
    Return the lowest rung that fits, up to the ceiling *on_rollback*.

    Args:
        pending: the revisions that will be run.
        on_rollback: the ceiling.
        target: a downgrade has one revision to go back to.
        accept_loss: rows whose loss the user accepts; None if he accepts none.
        obstacle: why the backup cannot be restored; empty if it can.
        fresh: the database is at base: what a data migration without a downgrade changed is gone
            with the tables, which the others drop.

    Raises:
        Refused: none is permitted.
    """
    if not pending:
        return Choice(1, "code", "nothing: no migration is pending")
    if on_rollback == "keep":
        stays = f"nothing: the schema stays at {pending[-1].id}, where the old code must run on it"
        return Choice(2, "keep", stays)
    stuck = [file for file in pending if not (file.reversible or fresh)]
    dropped = [drop for file in pending for drop in file.upgrade_drops]
    restorable = on_rollback == "restore" and accept_loss is not None and not obstacle
    if restorable and (stuck or dropped or not target):
        return Choice(5, "restore", _lost_by_restore(accept_loss or 0))
    if stuck or not target:
        raise _refused(stuck, on_rollback, accept_loss, obstacle)
    return Choice(3, "downgrade", _lost_by_downgrade(pending, dropped))


def _refused(
    stuck: list[RevisionFile], on_rollback: str, accept_loss: int | None, obstacle: str
) -> Refused:
    if stuck:
        what = f"revision {stuck[0].line} has no downgrade that does anything"
    else:
        what = "the database is at several revisions, and no downgrade leads back to all of them"
    if on_rollback == "restore" and accept_loss is None:
        then = "restoring the backup by itself needs Migrate(accept_loss=N): rows that may be lost"
    elif on_rollback == "restore":
        then = obstacle
    else:
        then = "write its downgrade(), or on_rollback='keep' if the old code runs on the new schema"
    return Refused(
        f"{what}: on_rollback={on_rollback!r} has no way back",
        state="nothing was touched",
        then=then,
    )


def _lost_by_downgrade(pending: Sequence[RevisionFile], dropped: list[str]) -> str:
    words = []
    if dropped:
        words.append(
            f"all that is in {_list(dropped)}: the upgrade drops it, the downgrade makes it empty"
        )
    drops = [drop for file in reversed(pending) for drop in file.downgrade_drops]
    if drops:
        words.append(f"what is written meanwhile into {_list(drops)}, which the downgrade drops")
    if any(file.own_sql for file in pending):
        words.append("whatever the downgrade's own SQL, which nobody looked into, deletes")
    return "; ".join(words) or "nothing that its scripts show"


def _lost_by_restore(accepted: int) -> str:
    return (
        "every row written after the backup; it is restored by itself only where that is known "
        f"to be at most {accepted}"
    )


def _list(words: list[str]) -> str:
    return ", ".join(dict.fromkeys(words))
