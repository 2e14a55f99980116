"""A stage whose every effect is counted, and which fails where a test says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from deploykit.command import Command
from deploykit.errors import CheckFailed, PlanStale, StageFailed
from deploykit.publishing import UNDO_KEY
from deploykit.release import Entry, Manifest
from deploykit.shell import fill
from deploykit.stage import Acting, Measure, Pack, Packing, Placement, Planning

__all__ = ["Fake", "How", "Item", "Was"]

How = Literal["once", "again", "put"]

# Under the root: `set/` is the world, `trouble/` says what is to go wrong, and the folder behind
# `common` is the same on all hosts, so that its log has the effects of all in their order. A file
# `wait.HOST` there holds one command up, before its effect or after, for a controller to end
# meanwhile.
CHANGE = """
cd "$DEPLOYKIT_ROOT/shared"
trouble=
if [ -e trouble/{place} ]; then read -r trouble <trouble/{place}; fi
die() {{ rm trouble/{place}; : >common/died.{on}; kill -9 -1; kill -9 $$; }}
case $trouble in fail-before) exit 9 ;; die-before) die ;; esac
wait=
if [ -e common/wait.{on} ]; then read -r wait <common/wait.{on}; rm -f common/wait.{on}; fi
[ "$wait" != early ] || sleep 1.5
if [ -n {value} ]; then echo {value} >set/{item}; else rm -f set/{item}; fi
echo "$DEPLOYKIT_COMMAND" {on} {stage} {direction} {key} {value} >>common/log
case $trouble in fail-after) exit 9 ;; die-after) die ;; esac
[ "$wait" != late ] || sleep 1.5
"""


@dataclass(frozen=True)
class Item:
    """
    One thing that a stage sets on a host, to the id of the run.

    Args:
        key: unique in the stage.
        does: how: by a command that is done once, by one that may be repeated, or as a file.
        undoes: how it is set back.
    """

    key: str
    does: How
    undoes: How


@dataclass(frozen=True)
class Was:
    """
    What a stage found.

    Args:
        host: where.
        values: of its items, in order; empty where there was none.
        pending: what a schema lacks, in a stage that migrates.
        rung: on which a rollback of that goes.
    """

    host: str
    values: tuple[str, ...]
    pending: tuple[str, ...] = ()
    rung: int = 1


@dataclass(frozen=True)
class Fake:
    """
    A stage that sets its items. One that publishes or pauses undoes all of them by commands.

    Args:
        name: unique in the pipeline.
        items: in order; undone in the reverse.
        placement: see `deploykit.stage`, like what follows.
        on: role of its hosts.
        is_check: it asks the host whether all is well, too.
        after_confirmed: it is not undone.
        publishes: what comes before it is a schema to it.
        pauses: what waits until it is undone, or until a later stage has applied.
        starts: what waits for it.
        apart: what ran before may run after it.
        rung: of a stage that migrates; 0 for any other.
        packs: the run releases something.
        measures: the end table shows its items.
    """

    name: str
    items: tuple[Item, ...] = ()
    placement: Placement = "each"
    on: str | None = None
    is_check: bool = False
    after_confirmed: bool = False
    publishes: bool = False
    pauses: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    apart: bool = False
    rung: int = 0
    packs: bool = False
    measures: bool = True

    undo_for: ClassVar[str] = "7 days"

    @property
    def migrates(self) -> bool:
        """Return whether it changes a schema."""
        return self.rung > 0

    def pack(self, ctx: Packing) -> Pack | None:
        """Release one file, which nobody uploads."""
        if not self.packs:
            return None
        return Pack(Path(ctx.project), Manifest((Entry("file", "file"),)))

    def plan(self, ctx: Planning) -> Was:
        """Look at what the items are."""
        if "plan" in self._troubles(ctx):
            raise StageFailed(f"{self.name} cannot be planned")
        pending = ("change",) if self.migrates else ()
        return Was(ctx.host.name, self._look(ctx), pending, self.rung)

    def apply(self, ctx: Acting, plan: Was) -> None:
        """Set every item to the run."""
        troubles = self._troubles(ctx)
        if "stale" in troubles:
            raise PlanStale(f"{self.name} finds another world")
        if self.is_check and "check" in troubles:
            raise CheckFailed(f"{self.name} says no")
        for item in self.items:
            if item.does == "put":
                self._put(ctx, item, ctx.run.id)
            else:
                script = self._script(plan, item, "apply", ctx.run.id)
                ctx.host.change(Command(item.key, script, again=item.does == "again"))

    def undo(self, ctx: Acting, plan: Was) -> None:
        """Set every item to what it was."""
        if self.publishes:
            ctx.host.change(Command(UNDO_KEY, self.undo_script(plan), again=True))
            return
        for item, value in reversed(list(zip(self.items, plan.values, strict=True))):
            if item.undoes == "put" and value and not self.pauses:
                self._put(ctx, item, value)
            else:
                ctx.host.change(self._undo_command(plan, item, value))

    def undo_script(self, plan: Was) -> str:
        """Return the whole undo of a stage that publishes."""
        pairs = reversed(list(zip(self.items, plan.values, strict=True)))
        return "".join(self._script(plan, item, "undo", value) for item, value in pairs)

    def undo_commands(self, plan: Was) -> tuple[Command, ...]:
        """Return the whole undo of a stage that pauses."""
        pairs = reversed(list(zip(self.items, plan.values, strict=True)))
        return tuple(self._undo_command(plan, item, value) for item, value in pairs)

    def measure(self, ctx: Planning, plan: Was, undone: bool) -> tuple[Measure, ...]:
        """Compare every item with what the run means to leave."""
        if not self.measures or self.after_confirmed:
            return ()
        wanted = plan.values if undone else (ctx.run.id,) * len(self.items)
        return tuple(
            Measure("service", f"{self.name}.{item.key}", value, found)
            for item, value, found in zip(self.items, wanted, self._look(ctx), strict=True)
        )

    def _put(self, ctx: Acting, item: Item, value: str) -> None:
        ctx.host.put(f"{value}\n".encode(), f"{ctx.layout.shared}/set/{self.name}.{item.key}")

    def _undo_command(self, plan: Was, item: Item, value: str) -> Command:
        script = self._script(plan, item, "undo", value)
        return Command(item.key, script, again=item.undoes == "again")

    def _script(self, plan: Was, item: Item, direction: str, value: str) -> str:
        return fill(
            CHANGE,
            place=f"{self.name}.{direction}.{item.key}",
            on=plan.host,
            value=value,
            item=f"{self.name}.{item.key}",
            stage=self.name,
            direction=direction,
            key=item.key,
        )

    def _look(self, ctx: Planning) -> tuple[str, ...]:
        names = [f"shared/set/{self.name}.{item.key}" for item in self.items]
        script = "for file in {}; do cat $file 2>/dev/null || echo; done"
        return tuple(ctx.host.query(fill(script, names)).output.split("\n")[: len(names)])

    def _troubles(self, ctx: Planning) -> list[str]:
        script = fill("ls shared/trouble | sed -n s/^{}[.]//p", self.name)
        return ctx.host.query(script).output.split()
