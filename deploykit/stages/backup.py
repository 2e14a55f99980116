"""Backup: a verified copy of a database, made on the host before anything else is done to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from posixpath import basename, join
from typing import ClassVar

from deploykit.command import Command
from deploykit.databases import asking, backups, retention
from deploykit.databases.base import Database, Resolved
from deploykit.durations import seconds
from deploykit.errors import (
    BackupUnusable,
    CommandFailed,
    CommandTimedOut,
    ConfigurationError,
    StageFailed,
)
from deploykit.shell import fill
from deploykit.stage import Acting, Placement, Planning

__all__ = ["Backup", "BackupPlan"]

DAY = 86400.0
ROOM_MISSING, DUMP_FAILED, DAMAGED, NOT_WRITTEN = 40, 41, 42, 43


@dataclass(frozen=True)
class BackupPlan:
    """
    What a backup will be called, what makes it, and which older ones go when it is verified.

    Args:
        id: its name; empty where there is no database yet.
        path: where the dump will be; its manifest is `<id>.json` beside it.
        engine: PostgreSQL, MariaDB or SQLite.
        database: which one, for people.
        tool: path of what dumps it.
        version: of the tool.
        size: of the database in bytes.
        need: bytes that must be free.
        there: how many backups of it there are.
        kept: what `keep` says, for people.
        expired: files to remove once the new backup is verified, dump and manifest of each.
        notes: what a person should know.
    """

    id: str
    path: str
    engine: str
    database: str
    tool: str = ""
    version: str = ""
    size: int = 0
    need: int = 0
    there: int = 0
    kept: str = ""
    expired: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def describe(self) -> tuple[str, ...]:
        """Return the lines that `deploykit plan` prints."""
        if not self.id:
            return (f"{self.database} does not exist yet: nothing to back up",)
        goes = f"; {len(self.expired) // 2} older will be removed" if self.expired else ""
        return (
            f"{self.engine} {self.database}, {_bytes(self.size)}",
            f"by {basename(self.tool)} {self.version}",
            f"into {self.path}, verified before anything goes on",
            f"keeps {self.kept}: {self.there} there now{goes}",
            *self.notes,
        )


@dataclass(frozen=True)
class Backup:
    """
    Copy a database on the host that reaches it, and verify the copy.

    The dump has a temporary name until the engine's own tool has read it whole; then older ones
    that `keep` no longer covers are removed, but none that an unfinished run or one of the last
    five names.

    Args:
        database: what to copy.
        keep: how many backups to keep, the new one included, or for how long: `"14 days"`.
        on: the role whose first host makes and keeps it.
        name: the stage's name.
    """

    database: Database
    keep: int | str = field(default=5, kw_only=True)
    on: str | None = field(default=None, kw_only=True)
    name: str = field(default="backup", kw_only=True)

    placement: ClassVar[Placement] = "first"
    apart: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.keep, str):
            seconds(self.keep)
        elif isinstance(self.keep, bool) or self.keep < 1:
            raise ConfigurationError(f"Backup(keep={self.keep!r}): at least 1, or like '14 days'")

    @property
    def backs_up(self) -> Database:
        """Return the database, by which a stage that may restore it finds this one."""
        return self.database

    def backup_path(self, ctx: Planning) -> str:
        """Return where the backup of this run will be."""
        file = backups.backup_id(ctx.run.id, self.name) + self._resolved(ctx).suffix
        return join(ctx.layout.backups, file)

    def plan(self, ctx: Planning) -> BackupPlan:
        """
        Look for the tools, the room and the backups that are there.

        Raises:
            ConfigurationError: no tool, no connection, no room.
        """
        database = self._resolved(ctx)
        found = asking.inspect(ctx.host, database)
        if found.absent:
            return BackupPlan("", "", database.engine, str(database.place))
        shelf = backups.shelf(ctx.host, ctx.layout)
        mine = shelf.of(database.place)
        need = mine[-1].size if mine else found.size
        if shelf.free < need:
            raise ConfigurationError(
                f"{ctx.host.name}: {ctx.layout.backups} has {_bytes(shelf.free)} free; "
                f"a backup of {database.place} needs about {_bytes(need)}",
                state="nothing was touched",
                then=f"make room there: du -xh {ctx.layout.root} | sort -h | tail",
            )
        return BackupPlan(
            id=backups.backup_id(ctx.run.id, self.name),
            path=self.backup_path(ctx),
            engine=database.engine,
            database=str(database.place),
            tool=found.tool,
            version=found.version,
            size=found.size,
            need=need,
            there=len(mine),
            kept=self.keep if isinstance(self.keep, str) else f"the newest {self.keep}",
            expired=self._expired(ctx, shelf, mine),
            notes=found.notes,
        )

    def apply(self, ctx: Acting, plan: BackupPlan) -> None:
        """
        Dump, verify, rename; then remove what is no longer kept.

        Raises:
            BackupUnusable: the dump is not complete, or its own tool cannot read it.
            StageFailed: no room, or the folder cannot be written.
        """
        if not plan.id:
            return
        database = self._resolved(ctx)
        dump = Command("dump", self._script(ctx, plan, database), database.env, "", DAY, again=True)
        try:
            ctx.host.change(dump)
        except CommandTimedOut:
            raise
        except CommandFailed as error:
            raise _told(error, ctx.host.name, plan) from error
        ctx.tell("backup_verified", backup=plan.id, path=plan.path)
        if plan.expired:
            paths = [join(ctx.layout.backups, file) for file in plan.expired]
            ctx.host.change(Command("expire", fill("rm -f -- {}\n", paths), again=True))
            ctx.tell("backups_expired", count=len(plan.expired) // 2)

    def undo(self, ctx: Acting, plan: BackupPlan) -> None:
        """Remove what is unfinished. A verified backup is never removed by an undo."""
        if plan.id:
            script = fill("rm -f -- {}\n", _unfinished(plan))
            ctx.host.change(Command("clean", script, again=True))

    def _resolved(self, ctx: Planning) -> Resolved:
        return self.database.resolve(ctx.secret, ctx.layout, ctx.host.name)

    def _expired(
        self, ctx: Planning, shelf: backups.Shelf, mine: tuple[backups.Record, ...]
    ) -> tuple[str, ...]:
        ages = [(record.id, shelf.age(record)) for record in reversed(mine)]
        goes = set(retention.beyond(self.keep, ages))
        old = tuple(record for record in mine if record.id in goes)
        needed = backups.needed_by(ctx.host, ctx.layout, old)
        return tuple(
            file
            for record in old
            if record.id not in needed
            for file in (f"{record.id}.json", record.file)
        )

    def _script(self, ctx: Acting, plan: BackupPlan, database: Resolved) -> str:
        part, manifest_part = _unfinished(plan)[:2]
        record = backups.Record(
            id=plan.id,
            engine=plan.engine,
            server=database.place.server,
            port=database.place.port,
            database=database.place.name,
            tool=f"{basename(plan.tool)} {plan.version}",
            run=ctx.run.id,
            file=basename(plan.path),
        )
        words = {
            "folder": ctx.layout.backups,
            "part": part,
            "leftovers": _unfinished(plan),
            "path": plan.path,
            "manifest_part": manifest_part,
            "manifest": _manifest(plan),
            "need": -(-plan.need // 1024),
            "head": record.head(),
        }
        return (
            fill(_BEFORE, **words)
            + f"(\n{database.dump(plan.tool, part)})\n"
            + f"(\n{database.verify(plan.tool, part)})\n"
            + fill(_AFTER, **words)
        )


# The trap is not reached by KILL: then undo removes what is unfinished.
_BEFORE = """\
umask 077
clean() {{ rm -f -- {leftovers}; }}
trap clean EXIT
trap 'exit 143' HUP INT TERM
mkdir -p -- {folder} && chmod 700 -- {folder} && clean || exit 43
free=$(df -Pk -- {folder} | awk 'NR == 2 {{ print $4 }}')
[ "$free" -ge {need} ] || {{ echo "$free KiB free, {need} KiB needed"; exit 40; }}
"""

_AFTER = """\
flush() {{ sync -- "$1" 2>/dev/null || sync; }}
flush {part}
sum=$(sha256sum <{part})
size=$(stat -c %s -- {part})
printf '%s, "size": %s, "sha256": "%s", "at": "%s"}}\\n' {head} "$size" "${{sum%% *}}" \\
  "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" >{manifest_part} || exit 43
flush {manifest_part}
mv -f -- {part} {path} && mv -f -- {manifest_part} {manifest} || exit 43
flush {folder}
"""


def _manifest(plan: BackupPlan) -> str:
    return join(plan.path[: -len(basename(plan.path))], f"{plan.id}.json")


def _unfinished(plan: BackupPlan) -> list[str]:
    """Return the temporary files: dump, manifest, and what SQLite makes beside a dump."""
    part = f"{plan.path}.part"
    return [
        part,
        f"{_manifest(plan)}.part",
        *(f"{part}{end}" for end in ("-journal", "-wal", "-shm")),
    ]


def _told(error: CommandFailed, host: str, plan: BackupPlan) -> Exception:
    """Say what an exit code of the dump means; other failures are not ours to explain."""
    state = "it was removed, and earlier backups are as they were"
    whole = f"{host}: the backup of {plan.database}"
    said = "\n".join(f"  | {line}" for line in error.output.strip().splitlines()[-10:])
    match error.exit_code_of_command:
        case code if code == ROOM_MISSING:
            return StageFailed(f"{whole} does not fit any more\n{said}", state=state)
        case code if code == DUMP_FAILED:
            return BackupUnusable(f"{whole} could not be made whole\n{said}", state=state)
        case code if code == DAMAGED:
            return BackupUnusable(
                f"{whole} is damaged: its own tool cannot read it\n{said}", state=state
            )
        case code if code == NOT_WRITTEN:
            return StageFailed(f"{whole} could not be written\n{said}", state=state)
    return error


def _bytes(size: int) -> str:
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
