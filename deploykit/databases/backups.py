"""Backups on a host: their names, their manifests, and which of them are there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from posixpath import join

from deploykit.databases.url import Place
from deploykit.errors import StageFailed
from deploykit.layout import Layout
from deploykit.shell import fill
from deploykit.stage import Reader

__all__ = ["Record", "Shelf", "backup_id", "needed_by", "shelf"]

LAST_RUNS = 5  # a backup that one of these names is not removed


@dataclass(frozen=True)
class Record:
    """
    A backup's manifest, `<id>.json` beside it.

    Args:
        id: its name: of the run that made it and the stage.
        engine: PostgreSQL, MariaDB or SQLite.
        server: of the database; see `Place`.
        port: of the database.
        database: its name.
        tool: what made it, with its version.
        run: that made it.
        file: name of the dump beside the manifest.
        size: in bytes.
        sha256: of the dump.
        at: UTC time by the host's clock.
    """

    id: str
    engine: str
    server: str
    port: int
    database: str
    tool: str
    run: str
    file: str
    size: int = 0
    sha256: str = ""
    at: str = ""

    @property
    def place(self) -> Place:
        """Return which database it is a copy of."""
        return Place(self.server, self.port, self.database)

    def head(self) -> str:
        """Return the manifest up to what only the host can know, without its closing brace."""
        fields = asdict(self)
        for name in ("size", "sha256", "at"):
            del fields[name]
        return json.dumps(fields, ensure_ascii=False)[:-1]


@dataclass(frozen=True)
class Shelf:
    """
    The backups on a host, oldest first.

    Args:
        records: their manifests.
        now: the host's clock.
        free: bytes that the deploy user may still write there.
    """

    records: tuple[Record, ...]
    now: datetime
    free: int

    def of(self, place: Place) -> tuple[Record, ...]:
        """Return those of one database, oldest first."""
        return tuple(record for record in self.records if record.place == place)

    def age(self, record: Record) -> float:
        """Return how many seconds ago *record* was made; 0 where that cannot be read."""
        try:
            made = datetime.fromisoformat(record.at)
        except ValueError:
            return 0.0
        return (self.now - made).total_seconds()


def backup_id(run: str, stage: str) -> str:
    """Return the name of the backup that *stage* makes in *run*."""
    return f"{run}-{stage}"


def shelf(host: Reader, layout: Layout) -> Shelf:
    """
    Look at the backups on *host*.

    Raises:
        StageFailed: they cannot be read.
    """
    script = fill(
        """\
folder={0}
date -u +%s
while [ ! -d "$folder" ]; do folder=$(dirname -- "$folder"); done
df -Pk -- "$folder" | awk 'NR == 2 {{ print $4 }}'
[ -d {0} ] || exit 0
for file in {0}/*.json; do
  [ -e "$file" ] || continue
  cat -- "$file" || exit 1
  echo
done
""",
        layout.backups,
    )
    result = host.query(script, check=False)
    now, free, *lines = result.output.splitlines() + [""] * (0 if result.ok else 2)
    if not result.ok or not now.isdigit() or not free.isdigit():
        raise StageFailed(f"{layout.backups} on {host.name} cannot be read: {result.errors}")
    records = [record for line in lines if (record := _record(line))]
    records.sort(key=lambda record: (record.at, record.id))
    return Shelf(tuple(records), datetime.fromtimestamp(int(now), UTC), int(free) * 1024)


def needed_by(host: Reader, layout: Layout, records: tuple[Record, ...]) -> frozenset[str]:
    """Return the ids of those *records* that an unfinished run or one of the last runs names."""
    if not records:
        return frozenset()
    checks = [
        fill(
            'if grep -qF -- {} "$journal"; then printf "%s\\n" {}; fi\n',
            json.dumps(record.file, ensure_ascii=False)[1:-1],
            index,
        )
        for index, record in enumerate(records)
    ]
    script = fill(_JOURNALS, runs=join(layout.private, "runs"), last=LAST_RUNS)
    result = host.query(script.replace("@checks@", "".join(checks)))
    return frozenset(records[int(line)].id for line in result.output.split())


# A run is over when its journal says confirmed, sealed or rolled_back.
_JOURNALS = """\
count=0
for run in $(ls -1r -- {runs} 2>/dev/null); do
  journal={runs}/$run/journal.jsonl
  [ -e "$journal" ] || continue
  count=$((count + 1))
  if [ "$count" -gt {last} ] && grep -qE \\
    '"kind": ?"(confirmed|sealed|rolled_back)"' "$journal"; then continue; fi
@checks@
done
"""


def _record(line: str) -> Record | None:
    """Read a manifest; None for what is none."""
    try:
        fields = json.loads(line)
        return Record(**fields)
    except (ValueError, TypeError):
        return None
