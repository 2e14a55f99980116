"""
Servers with a service and no database, for races of which many are run one after the other.

The pipeline has a command, `inside`, that fails loudly where a second one is at work on the host,
and a stage, `hold`, that lasts until it is let go.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from deploykit import Environment, Pipeline
from deploykit import Host as Target
from deploykit.engine.journal import History, parse
from deploykit.publishing import UNDO_KEY
from deploykit.release import Ledger
from deploykit.stage import AnyStage
from deploykit.stages import Prune, Restart, Shell, Transfer
from tests.farm import Host
from tests.faults import evidence
from tests.faults.crew import TIMES, Crew, Ended, Order, Verb
from tests.faults.site import ROOT, SUDOERS, Site

__all__ = ["Sight", "Yard", "environment", "undos"]

EFFECTS = "/srv/effects"
UNIT = """
[Unit]
StartLimitIntervalSec=0
[Service]
User=app
WorkingDirectory=/srv/shop/current
ExecStartPre=+/bin/sh -c 'echo "start $(basename "$(pwd -P)")" >>/srv/effects/log'
ExecStart=/bin/sleep infinity
"""
SERVICE = "/bin/sleep infinity"

# The name of a link is taken at once, and with its owner's process in it: never two are inside.
# The child is in a session of its own, as that of a careless program is.
INSIDE = """
cd /srv/effects
mine=mutex
until ln -s "$$" mutex 2>/dev/null; do
  other=$(readlink mutex) || continue
  if kill -0 "$other" 2>/dev/null; then
    echo "{what} of $DEPLOYKIT_RUN epoch $DEPLOYKIT_EPOCH beside $(cat inside)" >>violations
    exit 9
  fi
  rm -f mutex
done
trap 'rm -f mutex' EXIT
trap 'exit 1' TERM
echo "{what} of $DEPLOYKIT_RUN epoch $DEPLOYKIT_EPOCH" | tee inside >>log
{rest}
"""
LASTS = """
setsid sh -c 'until [ -e go ]; do sleep 0.05; done; : child' &
until [ -e go ]; do sleep 0.05; done
wait
"""
HOLD = """
echo "hold of $DEPLOYKIT_RUN" >>/srv/effects/log
until [ -e /srv/effects/let-go ]; do sleep 0.05; done
[ ! -e /srv/effects/fail ]
"""


def environment(
    targets: list[dict[str, str]], project: str, confirm_within: float, holds: bool
) -> Environment:
    """
    Return the environment.

    Args:
        targets: words of each `Target`.
        project: holds the source.
        confirm_within: seconds until a guardian fires.
        holds: whether there is a stage that lasts after the release is published, else the
            command before it does.
    """
    apply = INSIDE.format(what="inside", rest="" if holds else LASTS)
    stages: list[AnyStage] = [
        Transfer("app"),
        Shell("inside", do=apply, undo=INSIDE.format(what="outside", rest="")),
        Restart("shop.service"),
        *([Shell("hold", do=HOLD)] if holds else []),
        Prune(keep=3),
    ]
    return Environment(
        Pipeline(app="shop", root=ROOT, stages=stages, confirm_within=confirm_within),
        hosts=[Target(**target) for target in targets],  # type: ignore[arg-type]  # strings only
        name="production",
        project=Path(project),
    )


@dataclass(frozen=True)
class Sight:
    """
    A host, looked at.

    Args:
        current: the release that the link names.
        runs: the releases whose processes run.
        journals: of every run.
        ledger: of the releases.
        log: how often each line was written by commands and the service.
        violations: each time that two were inside.
        locked: the run that holds the lock; empty if it is free.
        temporary: files that should not be there.
        processes: those that should not be there.
    """

    current: str
    runs: tuple[str, ...]
    journals: Mapping[str, tuple[dict[str, Any], ...]]
    ledger: Ledger
    log: Mapping[str, int]
    violations: str
    locked: str
    temporary: tuple[str, ...]
    processes: tuple[str, ...]

    def wrong(self) -> list[str]:
        """Return what is wrong whatever the release is that should be live."""
        found = [f"two were inside: {line}" for line in self.violations.splitlines()]
        found += [f"temporary file: {name}" for name in self.temporary]
        found += [f"stray process: {line}" for line in self.processes]
        if self.locked:
            found.append(f"locked by {self.locked}")
        if self.runs != (self.current,):
            found.append(f"the service runs {self.runs}, published is {self.current}")
        live = self.ledger.find(self.current)
        if live is None or live.state != "good":
            found.append(f"the ledger says of the live release: {live}")
        for run, records in self.journals.items():
            found += _numbered(run, records)
        return found + self._interleaved()

    def _interleaved(self) -> list[str]:
        """Return where two controllers were at work in turns: an epoch is over when one begins."""
        times: dict[int, list[str]] = {}
        for records in self.journals.values():
            for record in records:
                if record.get("kind") not in ("ended", "lock_forced"):
                    times.setdefault(record.get("epoch", 0), []).append(record["at"])
        epochs = sorted(times)
        return [
            f"epoch {later} began at {min(times[later])}, and {epoch} ended at {max(times[epoch])}"
            for epoch, later in pairwise(epochs)
            if max(times[epoch]) > min(times[later])
        ]


@dataclass
class Yard:
    """
    The servers, and the crews of those who deploy to them.

    Args:
        hosts: of the farm.
        folder: of this machine.
        crew: of controllers.
        holds: see `environment`.
        confirm_within: see `environment`.
    """

    hosts: Sequence[Host]
    folder: Path
    crew: Crew
    holds: bool = False
    confirm_within: float = 90.0
    _count: int = 0
    _sites: list[Site] = field(default_factory=list)

    @property
    def words(self) -> dict[str, Any]:
        """The arguments of `environment`."""
        return {
            "targets": [
                {**site.target, "name": site.host.name, "address": site.host.ip}
                for site in self._sites
            ],
            "project": str(self.folder / "project"),
            "confirm_within": self.confirm_within,
            "holds": self.holds,
        }

    def prepare(self) -> None:
        """Make the servers ready, and deploy to them twice."""
        self._sites = [Site(host, self.folder) for host in self.hosts]
        app = self.folder / "project" / "app"
        app.mkdir(parents=True)
        (app / "page").write_text("a page\n")
        for host in self.hosts:
            host.root(f"install -d -o deploy -g deploy {ROOT}; install -d -m 777 {EFFECTS}")
            host.root(f"cd {EFFECTS}; touch log violations; chmod 666 *")
            host.unit("shop.service", UNIT)
            host.sudoers(SUDOERS)
        self.let_go()
        for _ in range(2):
            ended = self.crew.start(self.order("run")).wait(60)
            assert ended.code == 0, ended

    def order(self, verb: Verb, **more: Any) -> Order:
        """Return the order to do *verb*, for an operator of his own."""
        self._count += 1
        folder = self.folder / "operators" / str(self._count)
        return Order(
            verb=verb,
            made_by="tests.faults.yard:environment",
            words=self.words,
            home=str(folder),
            log=str(folder / "log"),
            **{"times": dict(TIMES), **more},
        )

    def do(self, verb: Verb, within: float = 90, **more: Any) -> Ended:
        """Do *verb*, and return how it ended."""
        return self.crew.start(self.order(verb, **more)).wait(within)

    def let_go(self, name: str = "go let-go") -> None:
        """Let commands go on that wait for that."""
        for host in self.hosts:
            host.root(f"cd {EFFECTS}; touch {name}")

    def hold(self) -> None:
        """From now on, have commands wait until they are let go."""
        for host in self.hosts:
            host.root(f"cd {EFFECTS}; rm -f go let-go fail")

    def is_inside(self) -> bool:
        """Return whether the command that may not be twice is at work anywhere."""
        return any((site.outside(EFFECTS) / "mutex").is_symlink() for site in self._sites)

    def look(self) -> dict[str, Sight]:
        """Look at every host."""
        return {site.host.name: _look(site) for site in self._sites}

    def wrong(self, live: str | None = None) -> list[str]:
        """Return everything that is wrong; *live* should be published, where that is given."""
        sights = self.look()
        found = [f"{name}: {what}" for name, sight in sights.items() for what in sight.wrong()]
        found += [
            f"{name}: published is {sight.current}, not {live}"
            for name, sight in sights.items()
            if live not in (None, sight.current)
        ]
        return found + [f"unfinished: {run}" for run in self.unfinished(sights)]

    def unfinished(self, sights: Mapping[str, Sight] | None = None) -> list[str]:
        """Return the runs that have a journal and no end."""
        return [run for run, found in self.histories(sights).items() if found.unfinished]

    def histories(self, sights: Mapping[str, Sight] | None = None) -> dict[str, History]:
        """Return every run that has a journal, as all hosts tell it."""
        sights = sights or self.look()
        names = {run for sight in sights.values() for run in sight.journals}
        return {
            run: History(run, {name: sight.journals.get(run, ()) for name, sight in sights.items()})
            for run in sorted(names)
        }


def undos(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how each undo of the publish in *records* ended, in order; `?` if it did not."""
    ended = {
        record["id"]: f"{record['rc']}{' stopped' * record['stopped']}"
        for record in records
        if record.get("kind") == "ended"
    }
    return [
        ended.get(record["id"], "?")
        for record in records
        if (record.get("kind"), record.get("key")) == ("began", UNDO_KEY)
        and record.get("direction") == "undo"
    ]


def _look(site: Site) -> Sight:
    private = site.root / ".deploykit"
    link = site.root / "current"
    log = site.outside(EFFECTS)
    holder = private / "lock" / "run"
    processes = site.processes()
    return Sight(
        current=link.readlink().name if link.is_symlink() else "",
        runs=tuple(sorted(_serving(site))),
        journals={
            path.parent.name: tuple(parse(path.read_text()))
            for path in sorted(private.glob("runs/*/journal.jsonl"))
        },
        ledger=Ledger.of(parse((private / "releases.jsonl").read_text())),
        log=Counter((log / "log").read_text().splitlines()),
        violations=(log / "violations").read_text(),
        locked=holder.read_text().strip() if holder.exists() else "",
        temporary=tuple(evidence._temporary(site.root)),
        processes=tuple(processes.values()),
    )


def _serving(site: Site) -> set[str]:
    """Return the releases in which a process of the service stands."""
    found = set()
    for pid in site.host._group.processes():
        try:
            folder = Path(f"/proc/{pid}")
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            if line == SERVICE and folder.stat().st_uid == 1001:
                found.add(re.sub(r" \(deleted\)$", "", str((folder / "cwd").readlink())))
        except OSError:  # it has ended meanwhile
            continue
    return {Path(path).name for path in found}


def _numbered(run: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what in a journal shows that two wrote it at once, or one that was fenced."""
    wrong = []
    numbers = [record.get("seq") for record in records]
    if numbers != list(range(1, len(records) + 1)):
        wrong.append(f"{run}: the records are numbered {numbers}")
    # A command that was begun before may end after its controller was fenced; nothing else may.
    # Who frees a lock by force has no epoch.
    exempt = ("ended", "lock_forced")
    epochs = [record.get("epoch", 0) for record in records if record.get("kind") not in exempt]
    if epochs != sorted(epochs):
        told = [f"{record.get('kind')}@{record.get('epoch')}" for record in records]
        wrong.append(f"{run}: the epochs do not only grow: {' '.join(told)}")
    began = Counter(r["id"] for r in records if r.get("kind") == "began" and "id" in r)
    wrong += [f"{run}: {ident} began {n} times" for ident, n in began.items() if n != 1]
    return wrong
