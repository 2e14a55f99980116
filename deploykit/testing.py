"""
The stage contract as tests, for the built-in stages and for yours.

```python
class TestMyStage(StageContract):
    @pytest.fixture
    def bench(self) -> Bench:
        return Bench(environment, "my-stage", snapshot=lambda: what_the_world_looks_like())
```

Every test carries out the stages before yours, then yours, on the environment's real hosts, and
puts everything back. See `deploykit.stage` for the clauses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from deploykit import codec
from deploykit.command import Command, Result
from deploykit.engine import api, lock
from deploykit.engine.events import Event, Events
from deploykit.engine.fleet import reached
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.pack import pack
from deploykit.engine.receipts import UnitHost
from deploykit.engine.rollback import go_back
from deploykit.engine.runner import forward, plan_all, write_ahead
from deploykit.engine.scene import Scene, look
from deploykit.environment import Environment
from deploykit.files import Files, FilesToLookAt
from deploykit.release import Manifest
from deploykit.stage import Acting, AnyStage

__all__ = ["Bench", "Cut", "StageContract", "Trial"]


class Cut(BaseException):
    """The controller's end, as a test brings it about; no stage may catch it."""


@dataclass(frozen=True)
class Bench:
    """
    What the contract is proved on.

    Args:
        environment: named, with real hosts; its pipeline holds the stage and what must precede it.
        stage: the stage's name.
        snapshot: returns what must be restored: link, processes, unit states, schema, rows, files.
        secrets: values that may appear nowhere (clause 7).
    """

    environment: Environment
    stage: str
    snapshot: Callable[[], object]
    secrets: Sequence[str] = ()


@dataclass
class Trial:
    """One run of a bench's pipeline, stopped before the stage in question."""

    bench: Bench
    scene: Scene
    plans: dict[tuple[str, str], Any]
    told: list[Event]
    effects: int = field(default=0)

    @property
    def stage(self) -> AnyStage:
        """Return the stage in question."""
        return self.scene.stages[self.bench.stage]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts that it works on."""
        return tuple(host for name, host in self.plans if name == self.bench.stage)

    def apply(self, cut_after: int | None = None) -> None:
        """
        Apply the stage on its hosts, one after the other.

        Args:
            cut_after: end after that many effects, as if the controller had died.
        """
        left = [cut_after]
        for host in self.hosts:
            acting = self.scene.acting(self.bench.stage, self.hosts, "apply", 1, host)
            self.stage.apply(self._counting(acting, left), self.plans[self.bench.stage, host])

    def undo(self, attempt: int = 1) -> None:
        """Undo the stage on its hosts, last first; a new *attempt* does without old receipts."""
        for host in reversed(self.hosts):
            acting = self.scene.acting(self.bench.stage, self.hosts, "undo", attempt, host)
            self.stage.undo(acting, self.plans[self.bench.stage, host])

    def _counting(self, acting: Acting, left: list[int | None]) -> Acting:
        assert isinstance(acting.host, UnitHost)  # a scene makes no other
        return replace(acting, host=_Counting(acting.host, self, left))


@dataclass(frozen=True)
class _Counting:
    """A host that counts effects, and ends the controller where the test says so."""

    inner: UnitHost
    trial: Trial
    left: list[int | None]

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def sftp(self) -> Files | None:
        files = self.inner.sftp
        # Typed as what it passes on to.
        return None if files is None else cast("Files", _CountingFiles(files, self._count))

    def query(self, script: str, **options: Any) -> Result:
        return self.inner.query(script, **options)

    def change(self, command: Command, *, check: bool = True) -> Result:
        self._count()
        return self.inner.change(command, check=check)

    def put(self, content: bytes, path: str, mode: int = 0o600) -> None:
        self._count()
        self.inner.put(content, path, mode)

    def upload(self, source: Path, manifest: Manifest, folder: str, like: str = "") -> None:
        self._count()
        self.inner.upload(source, manifest, folder, like)

    def _count(self) -> None:
        if self.left[0] is not None:
            if self.left[0] == 0:
                raise Cut
            self.left[0] -= 1
        self.trial.effects += 1


@dataclass(frozen=True)
class _CountingFiles:
    """Files of which each change counts as an effect."""

    inner: Files
    count: Callable[[], None]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found) or hasattr(FilesToLookAt, name):
            return found

        def counted(*words: Any, **options: Any) -> Any:
            self.count()
            return found(*words, **options)

        return counted


@contextmanager
def trial(bench: Bench) -> Iterator[Trial]:
    """Run the stages before the bench's, give the trial, and put everything back."""
    told: list[Event] = []
    environment = bench.environment
    project = environment.project or Path.cwd()
    events = Events([told.append]).bind(environment=environment.name)
    with ExitStack() as stack:
        packed = pack(project, environment.pipeline.stages, events)
        fleet = stack.enter_context(reached(environment, events))
        fleet.each(lambda session: session.prepare())
        info = api.run_info(environment, packed)
        epoch = lock.take(fleet, info.id, "contract")
        stack.callback(lock.release, fleet, info.id, epoch)
        scene = Scene(
            fleet=fleet,
            run=info,
            epoch=epoch,
            stages=environment.pipeline.by_name,
            packs=packed.packs,
            worlds=look(fleet),
            events=events,
            interrupts=Interrupts(),
        )
        plans = plan_all(scene)
        write_ahead(scene, plans)
        names = list(scene.stages)
        before = names[: names.index(bench.stage)]
        forward(
            replace(scene, stages={name: scene.stages[name] for name in before}),
            {unit: plan for unit, plan in plans.items() if unit[0] in before},
            set(),
        )
        try:
            yield Trial(bench, scene, plans, told)
        finally:
            go_back(scene, "the trial is over", rejected=False)


class StageContract:
    """Subclass it in your tests, and give it a fixture `bench` that returns a `Bench`."""

    def test_plan_changes_nothing(self, bench: Bench) -> None:
        """Clause 1: a dry run leaves the world as it was."""
        before = bench.snapshot()
        api.plan(bench.environment)
        assert bench.snapshot() == before

    def test_a_plan_survives_json(self, bench: Bench) -> None:
        """Clause 2: what the journal gives back is the plan that was written."""
        with trial(bench) as tried:
            for host in tried.hosts:
                plan = tried.plans[bench.stage, host]
                assert codec.decode(json.loads(json.dumps(codec.encode(plan)))) == plan

    def test_apply_twice_equals_once(self, bench: Bench) -> None:
        """Clause 3: what a resume applies again has no second effect."""
        with trial(bench) as tried:
            tried.apply()
            once = bench.snapshot()
            tried.apply()
            assert bench.snapshot() == once

    def test_undo_restores(self, bench: Bench) -> None:
        """Clause 4: after apply and undo the world is as before."""
        with trial(bench) as tried:
            before = bench.snapshot()
            tried.apply()
            tried.undo()
            assert bench.snapshot() == before

    def test_undo_restores_after_any_cut(self, bench: Bench) -> None:
        """Clause 5: wherever the controller died during apply, undo restores."""
        with trial(bench) as whole:
            whole.apply()
            effects = whole.effects
        for cut_after in range(effects):
            with trial(bench) as tried:
                before = bench.snapshot()
                try:
                    tried.apply(cut_after)
                except Cut:
                    tried.undo()
                else:
                    raise AssertionError(f"apply had fewer than {effects} effects this time")
                assert bench.snapshot() == before, f"cut after effect {cut_after}"

    def test_undo_twice_equals_once(self, bench: Bench) -> None:
        """Clause 6: undoing what is undone changes nothing, with receipts and without."""
        with trial(bench) as tried:
            before = bench.snapshot()
            tried.apply()
            tried.undo()
            tried.undo()
            tried.undo(attempt=2)
            assert bench.snapshot() == before

    def test_no_secret_leaks(self, bench: Bench) -> None:
        """Clause 7: no secret is in a plan, a command's text, an event or a journal."""
        with trial(bench) as tried:
            tried.apply()
            tried.undo()
            history = tried.scene.histories()
            said = json.dumps([list(tried.told), {h: list(r) for h, r in history.records.items()}])
            plans = json.dumps([codec.encode(plan) for plan in tried.plans.values()])
        for secret in bench.secrets:
            assert secret not in said
            assert secret not in plans
