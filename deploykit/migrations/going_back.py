"""Undoing a migration: by downgrade or from the backup, and the proof that it was undone."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from posixpath import basename, dirname, join

from deploykit.command import Command
from deploykit.databases import asking
from deploykit.errors import StageFailed
from deploykit.migrations.plan import BASE, MigratePlan
from deploykit.migrations.schema_state import SchemaState
from deploykit.shell import fill
from deploykit.stage import Acting

__all__ = ["GoingBack", "began"]

DAY = 86400.0


def began(ctx: Acting, plan: MigratePlan) -> bool:
    """Return whether the upgrade began, and has not been undone."""
    return ctx.host.query(fill("[ -e {} ]", plan.marker), check=False).ok


@dataclass(frozen=True)
class GoingBack:
    """
    One way back.

    Args:
        ctx: of the stage's undo.
        plan: of the stage.
        state: of the database.
        downgrade: the command for it.
        starters: later stages that start services.
        accept_loss: written rows that may be lost by restoring the backup.
    """

    ctx: Acting
    plan: MigratePlan
    state: SchemaState
    downgrade: Command
    starters: tuple[str, ...]
    accept_loss: int

    def go(self) -> None:
        """
        Go back from wherever the database is, and prove it.

        Raises:
            CommandFailed: the downgrade or the restore failed.
            StageFailed: the schema is not as before, or going back would lose too much.
        """
        plan = self.plan
        revision = self.state.revision()
        whole = revision == plan.after
        if revision != plan.before or not self._as_before():
            if plan.way == "restore":
                self._restore()
                whole = False
            elif revision != plan.before:
                # Cut by the host's death it has had its effect whole, or none: it goes on from
                # wherever the database is. Where half of it may be there, somebody has to look.
                again = self.state.database.transactional
                self.ctx.host.change(replace(self.downgrade, again=again))
        self._prove(whole=whole)
        self.ctx.host.change(Command("settled", fill("rm -f -- {}\n", plan.marker), again=True))
        self.ctx.tell("schema_restored", revision=plan.before or BASE, way=plan.way)

    def _as_before(self) -> bool:
        return self.state.fingerprint() == self.plan.schema

    def _prove(self, *, whole: bool) -> None:
        """See that revision and schema are as before; a whole downgrade may be an imprecise one."""
        plan, where = self.plan, f"{self.ctx.host.name}: {self.plan.database}"
        revision = self.state.revision()
        if revision != plan.before:
            raise StageFailed(
                f"{where} is at {revision or BASE}, not at {plan.before or BASE}, "
                f"though {plan.shown} downgrade ended well"
            )
        if self._as_before():
            return
        if whole:
            self.ctx.tell("schema_differs", revision=plan.before or BASE, database=plan.database)
            return
        raise StageFailed(
            f"{where} is at {plan.before or BASE}, but its schema is not as before: "
            "the migration that failed was half applied",
            state=f"some of what {plan.pending[0]!r} or a later one did is still there",
            then="take that back by hand, then: deploykit rollback",
        )

    def _restore(self) -> None:
        plan, database = self.plan, self.state.database
        lost = self._written()
        kept = f"{plan.database} is as the new release left it; the backup is {plan.backup}"
        if lost is None:
            raise StageFailed(
                f"{self.ctx.host.name}: services ran on the new schema, and nothing here counts "
                f"the rows they wrote to {database.engine}: the backup is not restored by itself",
                state=kept,
            )
        if lost > self.accept_loss:
            raise StageFailed(
                f"{self.ctx.host.name}: restoring the backup would lose {lost} written rows; "
                f"accept_loss is {self.accept_loss}",
                state=kept,
            )
        self.ctx.tell("backup_restoring", backup=plan.backup, lost=lost)
        stem = basename(plan.backup).removesuffix(database.suffix)
        manifest = join(dirname(plan.backup), f"{stem}.json")
        script = fill(_SAME, path=plan.backup, manifest=manifest)
        script += database.restore(plan.tool, plan.backup)
        self.ctx.host.change(Command("restore", script, database.env, timeout=DAY))

    def _written(self) -> int | None:
        """Return how many rows were written since the services were paused; None if unknown."""
        if not any(self._stage_began(name) for name in self.starters):
            return 0
        counter = self.state.database.writes()
        if not counter:
            return None
        then = self.ctx.host.query(fill("cat -- {}", self.plan.counted), check=False).output.strip()
        now = asking.rows(self.ctx.host, self.state.database, counter)
        if not then.isdigit() or not now or int(now[0]) < int(then):
            return None  # the upgrade was not whole, or the server began to count anew
        return int(now[0]) - int(then)

    def _stage_began(self, stage: str) -> bool:
        journal = join(dirname(self.plan.marker), "journal.jsonl")
        pattern = f'"kind": ?"began".*"stage": ?"{re.escape(stage)}".*"direction": ?"apply"'
        found = self.ctx.host.query(fill("grep -qE -- {} {}", pattern, journal), check=False)
        return found.exit_code != 1  # an unreadable journal proves nothing


_SAME = """\
sum=$(sha256sum <{path})
same=$(printf '"sha256": "%s"' "${{sum%% *}}")
grep -qF -- "$same" {manifest} || {{ echo 'the backup is not as it was made'; exit 1; }}
"""
