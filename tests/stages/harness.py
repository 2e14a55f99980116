"""One stage on a real shell: what the engine would give it, on this machine, below one folder."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deploykit.engine.events import Events
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.receipts import LookOnly, UnitHost
from deploykit.engine.session import Session, sealed
from deploykit.layout import Layout
from deploykit.release import Ledger, Manifest
from deploykit.secrets import Secret
from deploykit.stage import Acting, AnyStage, Pack, Planning, RunInfo
from deploykit.transport.local import LocalTransport
from deploykit.transport.retrying import RetryingTransport

NUMBERS = itertools.count(1)


@dataclass
class Bench:
    """
    This machine as a host, with the lock of one run.

    Args:
        root: the pipeline's root; made if it is not there.
        stages: those of the pipeline, in order.
        secrets: values by the secret's name; a literal knows its own.
        packs: what was packed, by stage name.
        env: what an `env_file` would give.
        path: folders before PATH.
        host: the host's label.
    """

    root: Path
    stages: tuple[AnyStage, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    packs: Mapping[str, Pack] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    host: str = "bench"
    told: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layout = Layout(str(self.root))
        self.events = Events([lambda event: self.told.append(dict(event))])
        transport = RetryingTransport(LocalTransport)
        self.session = Session(self.host, transport, self.layout, self.events.scrubber)
        self.session.prepare()
        self.new_run()

    def new_run(self) -> None:
        """Take the lock for another run, whose receipts are its own."""
        number = next(NUMBERS)
        run = f"20261104T1015{number // 60 % 60:02}{number % 60:02}Z"[:15] + f"Z-{number:08x}"
        self.run = RunInfo(run, "production", "shop", f"release-{number}")
        if (self.root / ".deploykit/lock").exists():
            before = (self.root / ".deploykit/lock/run").read_text().strip()
            self.session.call("unlock", before, "-")
        owner = json.dumps({"run": run}) + "\n"
        answer, _ = self.session.call("lock", run, "0", stdin=sealed(owner))
        assert answer.word == "locked", answer
        self.epoch = int(answer[1])

    def secret(self, secret: Secret) -> str:
        """Read a secret, as the engine does, and have it scrubbed."""
        value = secret.value or self.secrets[secret.name]
        self.events.scrubber.learn(value)
        return value

    def planning(self) -> Planning:
        """Return what `plan` is given."""
        return Planning(host=LookOnly(self.session), **self._shared())

    def acting(
        self, stage: str, direction: Literal["apply", "undo"] = "apply", attempt: int = 1
    ) -> Acting:
        """Return what `apply` and `undo` of the stage of that name are given."""
        events = self.events.bind(stage=stage, host=self.host, run=self.run.id)
        host = UnitHost(
            session=self.session,
            run=self.run.id,
            epoch=self.epoch,
            stage=stage,
            direction=direction,
            attempt=attempt,
            env=self.env,
            path=self.path,
            events=events,
            interrupts=Interrupts(),
        )
        return Acting(host=host, tell=events.tell, sleep=time.sleep, **self._shared())

    def apply(self, stage: AnyStage, plan: Any) -> None:
        """Apply *stage*."""
        stage.apply(self.acting(stage.name), plan)

    def undo(self, stage: AnyStage, plan: Any, attempt: int = 1) -> None:
        """Undo *stage*."""
        stage.undo(self.acting(stage.name, "undo", attempt), plan)

    def _shared(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "layout": self.layout,
            "stages": {stage.name: stage for stage in self.stages},
            "current": "",
            "ledger": Ledger(()),
            "packs": self.packs,
            "env": self.env,
            "path": self.path,
            "secret": self.secret,
            "hosts": (self.host,),
        }


def packed(source: Path) -> Pack:
    """Return *source* as a packed tree, everything in it included."""
    from deploykit.release import Entry

    entries = [
        Entry(str(path.relative_to(source)), "dir" if path.is_dir() else "file")
        for path in sorted(source.rglob("*"))
        if "__pycache__" not in path.parts
    ]
    return Pack(source, Manifest(tuple(entries)))
