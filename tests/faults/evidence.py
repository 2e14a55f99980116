"""What is on the server, and what of it is wrong: the judge of every case."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deploykit.engine.journal import History, parse
from deploykit.release import Ledger
from tests.faults.site import Site
from tests.faults.sources import COLUMNS, HEADS

__all__ = ["End", "Evidence", "evidence", "judge"]

End = Literal["old", "new", "neither"]

# Whatever has one of these names is something half done, or a message that was never tidied away.
TEMPORARY = re.compile(
    r"\.part(\.|-|$)|^\.owner\.|\.new2?$|^unlocked$|^\.current-|\.gone$"
    r"|^reserve\.|runner-.*\.sh\.|^guardian$|^undo-restart\.sh"
)
OF_A_COMMAND = re.compile(r"\.(line|json|sh|stop|by)$")


@dataclass(frozen=True)
class Evidence:
    """
    The server, looked at.

    Args:
        current: the release that the link names.
        serves: the release that answers.
        head: Alembic's revision.
        columns: of the table.
        rows: how often each row is there.
        journals: of every run, by id.
        ledger: of the releases.
        log: how often each line was written by what the stages started.
        migrated: how often each run went each way, as its transactions wrote it down.
        locked: whether there is a lock.
        temporary: files that should not be there.
        processes: those that should not be there.
    """

    current: str
    serves: str
    head: str
    columns: tuple[str, ...]
    rows: Mapping[str, int]
    journals: Mapping[str, tuple[dict[str, Any], ...]]
    ledger: Ledger
    log: Mapping[str, int]
    migrated: Mapping[str, int]
    locked: bool
    temporary: tuple[str, ...]
    processes: tuple[str, ...]

    def unfinished(self) -> list[str]:
        """Return the runs that have a journal and no end."""
        return [run for run in self.journals if self._history(run).unfinished]

    def confirmed(self, old: Iterable[str]) -> End:
        """Return the end that the journals tell of, those of *old* runs aside."""
        found = [self._history(run) for run in self.journals if run not in set(old)]
        deploys = [run for run in found if (run.opening or {}).get("action") == "deploy"]
        return "new" if any(run.state in ("confirmed", "sealed") for run in deploys) else "old"

    def _history(self, run: str) -> History:
        return History(run, {"web": self.journals[run]})

    def end(self, old: str) -> End:
        """Return which of both ends this is, by everything that says so."""
        version = "v1" if self.current == old else "v2"
        whole = (
            self.current != ""
            and self.current == self.serves
            and self.head == HEADS[version]
            and self.columns == COLUMNS[version]
        )
        if not whole:
            return "neither"
        return "old" if version == "v1" else "new"

    def told(self, runs: Iterable[str]) -> str:
        """Return everything in a few lines, for a report, with the journals of *runs*."""
        journals = "\n".join(
            f"  {run}: {' '.join(_word(record) for record in self.journals[run])}"
            for run in sorted(runs)
        )
        return (
            f"current {self.current} serves {self.serves or 'nothing'} head {self.head} "
            f"columns {','.join(self.columns)} locked {self.locked}\n"
            f"temporary {self.temporary} processes {self.processes}\n"
            f"log {dict(self.log)}\nmigrated {dict(self.migrated)}\n{journals}"
        )


def evidence(site: Site) -> Evidence:
    """Look at everything there is on the server of *site*."""
    private = site.root / ".deploykit"
    columns = tuple(
        name
        for (name,) in site.sql(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'notes'::regclass "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
    )
    rows = site.sql(f"SELECT {columns[1]} FROM notes")
    link = site.root / "current"
    return Evidence(
        current=link.readlink().name if link.is_symlink() else "",
        serves=site.get("release"),
        head=" ".join(version for (version,) in site.sql("SELECT * FROM alembic_version")),
        columns=columns,
        rows=Counter(text for (text,) in rows),
        journals={
            path.parent.name: tuple(parse(path.read_text()))
            for path in sorted(private.glob("runs/*/journal.jsonl"))
        },
        ledger=Ledger.of(parse((private / "releases.jsonl").read_text())),
        log=Counter(site.outside("/srv/effects/log").read_text().splitlines()),
        migrated=Counter(f"{what} {run}" for what, run in site.sql("SELECT * FROM effects")),
        locked=(private / "lock").exists(),
        temporary=tuple(_temporary(site.root)),
        processes=tuple(site.processes().values()),
    )


def judge(
    site: Site, found: Evidence, runs: Iterable[str], allowed: Sequence[End], kept: Iterable[str]
) -> list[str]:
    """
    Return everything that is wrong after a recovery.

    Args:
        site: the server.
        found: what is there.
        runs: the runs that this case has made.
        allowed: the ends it may have come to.
        kept: the rows whose writing was acknowledged.
    """
    end = found.end(site.base)
    wrong = []
    if end not in allowed:
        wrong.append(f"the end is {end}, not {' or '.join(allowed)}")
    if found.locked:
        wrong.append("the lock is not free")
    if found.unfinished():
        wrong.append(f"unfinished: {found.unfinished()}")
    wrong += [f"temporary file: {name}" for name in found.temporary]
    wrong += [f"stray process: {line}" for line in found.processes]
    lost = [row for row in kept if found.rows.get(row, 0) != 1]
    if lost:
        wrong.append(f"rows that are not there once: {lost}")
    for run in runs:
        wrong += _counted(found, run)
    live = found.ledger.find(found.current)
    if live is None or live.state != "good":
        wrong.append(f"the ledger says of the live release: {live}")
    return wrong


def _counted(found: Evidence, run: str) -> list[str]:
    """Return what of *run* was not done exactly once."""
    records = found.journals.get(run, ())
    wrong = []
    numbers = [record.get("seq") for record in records]
    if numbers != list(range(1, len(records) + 1)):
        wrong.append(f"{run}: the records are numbered {numbers}")
    began = Counter(r["id"] for r in records if r.get("kind") == "began" and "id" in r)
    ended = Counter(r["id"] for r in records if r.get("kind") == "ended")
    wrong += [f"{run}: {ident} began {n} times" for ident, n in began.items() if n != 1]
    wrong += [
        f"{run}: {ident} began {began[ident]} times and ended {ended[ident]} times"
        for ident in {*began, *ended}
        if began[ident] != ended[ident]
    ]
    # A rollback is a run of its own, whose records stand in the journal of what it undoes.
    counters: tuple[tuple[str, str, str, str, Mapping[str, int]], ...] = (
        ("install", "install", "apply", f"install {run}", found.log),
        ("migrate", "upgrade", "apply", f"upgrade {run}", found.log),
        ("migrate", "downgrade", "undo", f"downgrade {run}", found.log),
        ("migrate", "upgrade", "apply", f"upgrade {run}", found.migrated),
        ("migrate", "downgrade", "undo", f"downgrade {run}", found.migrated),
        ("restart", "start:shop.service", "apply", f"start {_release(records)}", found.log),
    )
    for stage, key, direction, line, counter in counters:
        count = counter.get(line, 0)
        done, stopped = _receipts(records, stage, direction, key)
        if key.startswith("start:"):  # undoing a later run starts it once more
            others = [r for name, own in found.journals.items() if name != run for r in own]
            stopped += sum(_receipts(others, "pause", "undo", key))
        if not done <= count <= done + stopped:
            wrong.append(
                f"{run}: {line} was done {count} times; receipts: {done}, and {stopped} stopped"
            )
    return wrong


def _receipts(
    records: Iterable[dict[str, Any]], stage: str, direction: str, key: str
) -> tuple[int, int]:
    """Return how often a command ended well, and how often it was stopped or failed."""
    own = [
        record
        for record in records
        if record.get("kind") == "ended"
        and (record["stage"], record["direction"], record["key"]) == (stage, direction, key)
    ]
    done = sum(record["rc"] == 0 and not record["stopped"] for record in own)
    return done, len(own) - done


def _release(records: Iterable[dict[str, Any]]) -> str:
    return next((str(r["release"]) for r in records if r.get("kind") == "run"), "")


def _temporary(root: Path) -> Iterable[str]:
    """Yield what below *root* has the name of something that is only for a moment."""
    for folder in (root, root / "releases", root / "backups", root / "shared"):
        if folder.is_dir():
            yield from (
                str(path.relative_to(root)) for path in folder.iterdir() if _is_temporary(path.name)
            )
    for above, folders, files in os.walk(root / ".deploykit"):  # which may change meanwhile
        for name in (*folders, *files):
            if _is_temporary(name) or ("/output" in above and OF_A_COMMAND.search(name)):
                yield os.path.relpath(f"{above}/{name}", root)


def _is_temporary(name: str) -> bool:
    return bool(TEMPORARY.search(name))


def _word(record: Mapping[str, Any]) -> str:
    """Return a record in one word."""
    kind = str(record.get("kind"))
    if kind == "began":
        return f"began:{record.get('id') or record.get('stage')}"
    if kind == "ended":
        return f"ended={record.get('rc')}{'!' if record['stopped'] else ''}"
    if kind == "back":
        return f"back:{str(record.get('reason'))[:60]!r}"
    return f"{kind}:{record['stage']}" if "stage" in record else kind
