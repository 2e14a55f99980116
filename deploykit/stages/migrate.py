"""Migrate: bring the schema to the new release's revision, and know how to go back."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from posixpath import join
from typing import ClassVar

from deploykit.command import Command
from deploykit.databases import asking
from deploykit.databases.base import Database, Resolved
from deploykit.durations import seconds
from deploykit.errors import ConfigurationError, PlanStale, StageFailed
from deploykit.migrations import rungs
from deploykit.migrations.alembic import Scripts, read_scripts
from deploykit.migrations.going_back import GoingBack, began
from deploykit.migrations.plan import BASE, MigratePlan
from deploykit.migrations.schema_state import SchemaState
from deploykit.shell import fill
from deploykit.stage import Acting, AnyStage, Measure, Placement, Planning

__all__ = ["Migrate", "MigratePlan"]


@dataclass(frozen=True)
class Migrate:
    """
    Run Alembic's pending revisions, in the new release, on the host that reaches the database.

    What is pending is read from the packed source and the database; neither the application nor
    a revision is imported. The database's URL reaches the command as the variable that its
    secret names, else as DATABASE_URL.

    Args:
        ini: path of `alembic.ini`, relative to the source that is sent.
        database: which one.
        on_rollback: how far a rollback may go: `"keep"` leaves the schema, for old code that runs
            on it; `"downgrade"`; `"replay"` (as "downgrade" yet); `"restore"`, the backup.
        command: what stands before `upgrade`, such as `"flask --app shop db"`; `alembic` if not
            given.
        version_table: where Alembic notes the revision.
        schema: the schema of that table.
        undo_for: how long after the run a rollback may undo the schema.
        online: old code may meet the new schema: no note about a missing `Pause`.
        accept_loss: with `"restore"`: restore by itself if at most so many rows are lost.
        on: the role whose first host runs it.
        name: the stage's name.
    """

    ini: str
    database: Database
    on_rollback: rungs.OnRollback = field(kw_only=True)
    command: str | None = field(default=None, kw_only=True)
    version_table: str = field(default="alembic_version", kw_only=True)
    schema: str | None = field(default=None, kw_only=True)
    undo_for: str = field(default="7 days", kw_only=True)
    online: bool = field(default=False, kw_only=True)
    accept_loss: int | None = field(default=None, kw_only=True)
    on: str | None = field(default=None, kw_only=True)
    name: str = field(default="migrate", kw_only=True)

    placement: ClassVar[Placement] = "first"
    migrates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.on_rollback not in rungs.CEILINGS:
            raise ConfigurationError(
                f"Migrate(on_rollback={self.on_rollback!r}): one of {', '.join(rungs.CEILINGS)}"
            )
        if self.accept_loss is not None and (self.on_rollback != "restore" or self.accept_loss < 0):
            raise ConfigurationError(
                f"Migrate(accept_loss={self.accept_loss!r}): a number of rows, and only with "
                "on_rollback='restore'"
            )
        seconds(self.undo_for)
        try:
            words = self.command is None or shlex.split(self.command)
        except ValueError as error:
            raise ConfigurationError(f"Migrate(command={self.command!r}): {error}") from error
        if not words:
            raise ConfigurationError("Migrate(command=''): what stands before 'upgrade'?")

    # -- plan ----------------------------------------------------------------------------------

    def plan(self, ctx: Planning) -> MigratePlan:
        """
        Compare the packed scripts with the database.

        Raises:
            ConfigurationError: no ini, broken scripts, several heads, an unknown revision.
            Refused: no way back that `on_rollback` permits.
        """
        scripts = read_scripts(ctx.packs.values(), self.ini)
        head = scripts.head()
        state = self._state(ctx)
        database = state.database
        asking.ready(ctx.host, database)
        present = state.present()
        pending = scripts.pending(present)
        backup, obstacle = self._backup(ctx)
        choice = rungs.choose(
            pending,
            self.on_rollback,
            target=len(present) <= 1,
            accept_loss=self.accept_loss,
            obstacle=obstacle,
            fresh=not present,
        )
        restores = choice.way == "restore"
        return MigratePlan(
            engine=database.engine,
            database=str(database.place),
            before=" ".join(present),
            after=head,
            pending=tuple(file.line for file in pending),
            rung=choice.rung,
            way=choice.way,
            loses=choice.loses,
            folder=join(ctx.release_path, scripts.folder).rstrip("/"),
            words=self._words(scripts),
            schema=state.fingerprint() if pending else "",
            marker=join(ctx.layout.run(ctx.run.id), f"{self.name}.began"),
            backup=backup if restores else "",
            tool=asking.inspect(ctx.host, database).tool if restores else "",
            notes=self._notes(ctx, database, choice) if pending else (),
        )

    def _words(self, scripts: Scripts) -> tuple[str, ...]:
        if self.command is not None:
            return tuple(shlex.split(self.command))
        return ("alembic", "-c", scripts.file)

    def _notes(self, ctx: Planning, database: Resolved, choice: rungs.Choice) -> tuple[str, ...]:
        notes = []
        if self.on_rollback == "replay":
            notes.append(f"rung 4 (replay) is not there yet: a rollback goes by rung {choice.rung}")
        if not database.transactional:
            notes.append(
                f"a failing migration may be half applied: {database.engine} by itself takes no "
                "change of the schema back"
            )
        if not self.online and not any(_pauses(stage) for stage in self._before(ctx)):
            notes.append(
                "no Pause before it: until Restart, the old code meets the new schema "
                "(online=True says that it can)"
            )
        return tuple(notes)

    def _before(self, ctx: Planning) -> list[AnyStage]:
        names = list(ctx.stages)
        at = names.index(self.name) if self.name in names else len(names)
        return [ctx.stages[name] for name in names[:at]]

    def _backup(self, ctx: Planning) -> tuple[str, str]:
        """Return the path of this run's backup, and why it may not be restored by itself."""
        before = self._before(ctx)
        for at, stage in enumerate(before):
            same = getattr(stage, "backs_up", None) == self.database
            if same and getattr(stage, "on", None) == self.on:
                if any(_pauses(earlier) for earlier in before[:at]):
                    return stage.backup_path(ctx), ""  # type: ignore[attr-defined]  # what backs up has it
                return "", "put Pause(…) before Backup: what is written after it would be lost"
        return "", "put Backup of the same database, on the same role, before Migrate"

    # -- apply and undo ------------------------------------------------------------------------

    def apply(self, ctx: Acting, plan: MigratePlan) -> None:
        """
        Upgrade, and see in the database that it was done.

        Raises:
            PlanStale: the revision is not the planned one any more.
            CommandFailed: the upgrade failed.
            StageFailed: it said that it succeeded, and the database says otherwise.
        """
        if not plan.pending:
            return
        state = self._state(ctx)
        revision = state.revision()
        if revision not in (plan.before, plan.after) and not began(ctx, plan):
            raise PlanStale(
                f"{ctx.host.name}: {plan.database} was at {plan.before or BASE} when this was "
                f"planned, and is at {revision or BASE} now",
                then="run again: it is planned anew",
            )
        upgrade = self._command(ctx, plan, "upgrade", plan.after)
        marked = fill(": >{}\n", plan.marker) + upgrade.script
        ctx.host.change(replace(upgrade, script=marked))
        if (revision := state.revision()) != plan.after:
            raise StageFailed(
                f"{ctx.host.name}: {plan.shown} upgrade ended well, but {plan.database} is at "
                f"{revision or BASE}, not at {plan.after}",
                then="does env.py read the URL from the variable that the database's secret names?",
            )
        counter = state.database.writes()
        if plan.way == "restore" and counter:
            script = f"(\n{state.database.sql(counter)})" + fill(" >{}\n", plan.counted)
            ctx.host.change(Command("count", script, state.database.env, again=True))
        ctx.tell("schema_migrated", before=plan.before or BASE, after=plan.after)

    def undo(self, ctx: Acting, plan: MigratePlan) -> None:
        """
        Go back by the planned way, wherever the database really is.

        Raises:
            CommandFailed: the downgrade or the restore failed.
            StageFailed: the schema is not as before, or going back would lose too much.
        """
        if plan.way in ("code", "keep") or not began(ctx, plan):
            return
        GoingBack(
            ctx=ctx,
            plan=plan,
            state=self._state(ctx),
            downgrade=self._command(ctx, plan, "downgrade", plan.before or BASE),
            starters=self._starters(ctx),
            accept_loss=self.accept_loss or 0,
        ).go()

    def measure(self, ctx: Planning, plan: MigratePlan, undone: bool) -> Sequence[Measure]:
        """Compare the wanted revision with the database's."""
        is_ = self._state(ctx).revision()
        wanted = plan.before if undone else plan.after
        if undone and plan.way == "keep" and is_ in plan.ids:
            wanted = is_
        return (Measure("migration", self.name, wanted or BASE, is_ or BASE),)

    def _command(self, ctx: Acting, plan: MigratePlan, verb: str, revision: str) -> Command:
        env = self.database.environment(ctx.secret, ctx.layout)
        script = fill("{} {} {}\n", plan.words, verb, revision)
        return Command(verb, script, env, cwd=plan.folder)

    def _starters(self, ctx: Planning) -> tuple[str, ...]:
        names = list(ctx.stages)
        later = names[names.index(self.name) + 1 :] if self.name in names else []
        return tuple(name for name in later if getattr(ctx.stages[name], "starts", ()))

    def _state(self, ctx: Planning) -> SchemaState:
        database = self.database.resolve(ctx.secret, ctx.layout, ctx.host.name)
        return SchemaState(ctx.host, database, self.version_table, self.schema)


def _pauses(stage: AnyStage) -> bool:
    return bool(getattr(stage, "pauses", ()))
