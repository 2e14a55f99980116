"""Everything one run works with, and the contexts it gives to stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from deploykit import codec
from deploykit.engine import copies, journal
from deploykit.engine.events import Events
from deploykit.engine.fleet import Fleet, attempt_each, each
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.receipts import LookOnly, UnitHost
from deploykit.engine.session import Session
from deploykit.engine.sftp_only.unit import SftpUnit
from deploykit.errors import DeploykitError, JournalError, TransportError, unexpected
from deploykit.release import Ledger
from deploykit.stage import Acting, AnyStage, Measure, Pack, Planning, RunInfo

__all__ = ["Scene", "World", "look"]

ReleaseLine = dict[str, Any] | None


@dataclass(frozen=True)
class World:
    """
    What a host looked like when the run began to plan.

    Args:
        current: the release that the published link points to; empty if there is none.
        ledger: its releases.
        env: the variables of the pipeline's `env_file`.
        open: runs whose journal there has no end.
    """

    current: str
    ledger: Ledger
    env: Mapping[str, str]
    open: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """
    A run, its hosts and its stages.

    Args:
        fleet: the connected hosts.
        run: the run's fixed names.
        epoch: issued with the lock.
        stages: by name, in order; of the pipeline or rebuilt from the journal.
        packs: what was packed; empty where a run is resumed or undone without its source.
        worlds: by host.
        events: bound to run and environment.
        interrupts: whether somebody asked to stop.
        acting_now: the hosts that a unit works on at this moment.
        owed: records by host that are to be written with the next one there.
    """

    fleet: Fleet
    run: RunInfo
    epoch: int
    stages: Mapping[str, AnyStage]
    packs: Mapping[str, Pack]
    worlds: Mapping[str, World]
    events: Events
    interrupts: Interrupts
    acting_now: dict[str, UnitHost] = field(default_factory=dict)
    owed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def planning(self, host: str, hosts: tuple[str, ...]) -> Planning:
        """Return what `plan` and `measure` of a stage that works on *hosts* are given on *host*."""
        session = self.fleet.sessions[host]
        return Planning(host=LookOnly(session), **self._common(session, hosts))

    def acting(
        self,
        stage: str,
        hosts: tuple[str, ...],
        direction: Literal["apply", "undo"],
        attempt: int,
        host: str,
    ) -> Acting:
        """Return what `apply` and `undo` of *stage* are given on *host*."""
        common = self._common(self.fleet.sessions[host], hosts)
        unit = self.unit(stage, direction, attempt, host)
        self.acting_now[host] = unit
        return Acting(host=unit, tell=unit.events.tell, sleep=self.interrupts.sleep, **common)

    def unit(
        self, stage: str, direction: Literal["apply", "undo"], attempt: int, host: str
    ) -> UnitHost:
        """Return *host* as one direction of *stage* sees it."""
        session = self.fleet.sessions[host]
        common = self._common(session, ())
        kind = UnitHost if session.shell else SftpUnit
        return kind(
            session,
            self.run.id,
            self.epoch,
            stage,
            direction,
            attempt,
            {**common["env"], **self._names()},
            common["path"],
            self.events.bind(stage=stage, host=host),
            self.interrupts,
            self.owed.setdefault(host, []),
        )

    def write(self, host: str, kind: str, **keys: Any) -> None:
        """Append one record to the run's journal on *host*."""
        self.write_all(host, [{"kind": kind, **keys}])

    def owe(self, host: str, kind: str, **keys: Any) -> None:
        """
        Have one record written to the run's journal on *host* together with the next one.

        It saves a round trip where it may be lost with its controller: for what a resume finds out
        again by receipts.
        """
        self.owed.setdefault(host, []).extend(self._lines(host, [{"kind": kind, **keys}]))

    def write_all(
        self,
        host: str,
        records: Iterable[Mapping[str, Any]],
        *,
        before: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({}),
        after: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({}),
    ) -> None:
        """
        Append *records* to the run's journal on *host*, in one message.

        Args:
            host: its label.
            records: without what all records of the run have in common.
            before: records for other files, to be on the disk before.
            after: records for other files, once they are.
        """
        owed = self.owed.get(host, [])
        lines = [*owed, *self._lines(host, records)]
        files = {**before, f"runs/{self.run.id}/journal.jsonl": lines, **after}
        self.fleet.sessions[host].append_to(files, self.epoch)
        owed.clear()

    def _lines(self, host: str, records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """
        Return *records* with what all records of the run have in common.

        Only reasons are scrubbed, being free text. Stages and plans hold secrets by name (contract,
        clause 7), and scrubbing them could put `***` into a path that an undo needs.
        """
        fixed = {"run": self.run.id, "epoch": self.epoch, "host": host}
        lines = [{**fixed, **record} for record in records]
        for line in lines:
            if "reason" in line:
                line["reason"] = self.events.scrubber.text(line["reason"])
        return lines

    def write_everywhere(self, kind: str, *, release: ReleaseLine = None, **keys: Any) -> None:
        """Append one record to every host's journal, and before it what becomes of the release."""
        self.fleet.each(
            lambda session: self.write_all(
                session.name, [{"kind": kind, **keys}], before=self.ledger(release)
            )
        )

    def ledger(self, line: ReleaseLine) -> dict[str, list[dict[str, Any]]]:
        """Return the records to write beside those of the journal: those of the releases."""
        return {"releases.jsonl": [line]} if line else {}

    def release(self, state: str, *, rejected: bool = False) -> ReleaseLine:
        """Return the record that the run's release is in *state* now; None where it makes none."""
        if not self.run.content:
            return None
        return {
            "id": self.run.release,
            "content": self.run.content,
            "state": state,
            "run": self.run.id,
            "by": self.run.by,
            "commit": self.run.commit,
            "rejected": rejected,
        }

    def histories(self) -> journal.History:
        """Read the run's journal from every host."""
        return read_history(self.fleet, self.run.id)

    def measure(
        self, plans: Mapping[tuple[str, str], Any], *, undone: bool
    ) -> dict[str, tuple[Measure, ...]]:
        """Measure every stage that can be, on every host: what is wanted beside what is."""
        units = [
            (name, host)
            for name, stage in self.stages.items()
            for unit, host in plans
            if unit == name and hasattr(stage, "measure")
        ]
        # All at once: nothing is changed, and each waits for hosts most of the time.
        found = each({unit: partial(self._measure, unit, plans, undone) for unit in units})
        return {
            host: tuple(measure for unit in units if unit[1] == host for measure in found[unit])
            for host in self.fleet.sessions
        }

    def _measure(
        self, unit: tuple[str, str], plans: Mapping[tuple[str, str], Any], undone: bool
    ) -> list[Measure]:
        name, host = unit
        stage: Any = self.stages[name]
        hosts = tuple(where for other, where in plans if other == name)
        try:
            return list(stage.measure(self.planning(host, hosts), plans[unit], undone))
        except DeploykitError:
            raise
        except Exception as error:
            raise unexpected(error) from error

    def _names(self) -> dict[str, str]:
        return {
            "DEPLOYKIT_RELEASE": self.run.release,
            "DEPLOYKIT_ENVIRONMENT": self.run.environment,
        }

    def _common(self, session: Session, hosts: tuple[str, ...]) -> dict[str, Any]:
        world = self.worlds[session.name]
        lay = session.layout
        release = lay.release(self.run.release)
        own = tuple(lay.under(folder) for folder in self.fleet.environment.pipeline.path)
        return {
            "run": self.run,
            "layout": lay,
            "stages": self.stages,
            "current": world.current,
            "ledger": world.ledger,
            "packs": self.packs,
            "env": world.env,
            "path": (*own, f"{release}/.venv/bin", f"{release}/venv/bin"),
            "secret": partial(self.fleet.resolver.secret, host=session),
            "hosts": hosts,
        }


def look(fleet: Fleet, *, need_env: bool = True) -> dict[str, World]:
    """
    Look at every host: what is published, its releases, its env_file. One query a host.

    Raises:
        SecretMissing: the env_file is not there, and *need_env*.
    """
    return fleet.each(lambda session: _look(fleet, session, need_env))


def read_history(fleet: Fleet, run: str) -> journal.History:
    """Read the journal of *run* from every host."""
    records = fleet.each(lambda session: tuple(session.records(session.layout.journal(run))))
    return _kept(fleet, journal.History(run, records))


def read_reachable(fleet: Fleet, run: str) -> tuple[journal.History, dict[str, BaseException]]:
    """
    Read the journal of *run* from every host that can be reached.

    Returns:
        What they say, and why the others do not answer.

    Raises:
        TransportError: none answers.
    """
    read = {
        name: partial(session.records, session.layout.journal(run))
        for name, session in fleet.sessions.items()
    }
    found, gone = attempt_each(read)
    unusual = [error for error in gone.values() if not isinstance(error, TransportError)]
    if unusual or not found:
        raise (unusual or list(gone.values()))[0]
    history = journal.History(run, {name: tuple(records) for name, records in found.items()})
    return _kept(fleet, history), gone


def _kept(fleet: Fleet, found: journal.History) -> journal.History:
    copies.keep(fleet.environment.name, found)
    return found


def of_run(fleet: Fleet, found: journal.History) -> Fleet:
    """
    Return the hosts of *fleet* that a run worked on.

    Raises:
        JournalError: one of them is no longer there.
    """
    hosts = found.opening["hosts"] if found.opening else []
    missing = [host for host in hosts if host not in fleet.sessions]
    if missing:
        raise JournalError(
            f"run {found.run} worked on {', '.join(missing)}, which deploy.py no longer names",
            then="add the host again until the run is finished or undone",
        )
    return replace(fleet, sessions={name: fleet.sessions[name] for name in hosts})


def opening(scene: Scene, action: str, hosts: Iterable[str], **keys: Any) -> dict[str, Any]:
    """Return the record that opens a run's journal."""
    stages = [{"name": name, "stage": codec.encode(stage)} for name, stage in scene.stages.items()]
    return {
        "kind": "run",
        "action": action,
        "environment": scene.run.environment,
        "app": scene.run.app,
        "release": scene.run.release,
        "content": scene.run.content,
        "commit": scene.run.commit,
        "by": scene.run.by,
        "hosts": list(hosts),
        "stages": stages,
        **keys,
    }


def _look(fleet: Fleet, session: Session, need_env: bool) -> World:
    lay, env_file = session.layout, fleet.environment.pipeline.env_file
    link = _published(fleet.environment.pipeline.stages)
    found = session.glance(lay.under(link), lay.under(env_file) if env_file else "")
    if env_file and need_env and not found.env:
        fleet.resolver.env_file(env_file, session)  # raises the error that says what to type
    known = bool(env_file and found.env)
    return World(
        current=found.target.rstrip("/").rpartition("/")[2],
        ledger=Ledger.of(found.ledger),
        open=found.open,
        env=fleet.resolver.learn_env(found.env, env_file or "", session.name) if known else {},
    )


def _published(stages: Iterable[AnyStage]) -> str:
    """Return the link by which *stages* publish: `current`, unless all of them name others."""
    links = [getattr(s, "link", "current") for s in stages if getattr(s, "publishes", False)]
    return "current" if "current" in links else next(iter(links), "current")
