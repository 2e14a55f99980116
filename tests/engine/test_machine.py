"""
The state machine of DESIGN ("A run"), under random pipelines, failures and ends of controllers.

An example is a value: a pipeline of fake stages, and what is done with it, with what befalls each
controller. It is carried out by the engine, the runner and a shell on hosts of this machine, and
after each controller everything that must hold is checked from outside.

`DEPLOYKIT_MACHINE_SECONDS` says for how long examples are tried, and `DEPLOYKIT_MACHINE_SEED` which
ones.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.engine.machine.cases import CASES, KNOWN, Case
from tests.engine.machine.hosts import Farm, farm
from tests.engine.machine.play import HOSTS, Play
from tests.engine.machine.world import world

SECONDS = float(os.environ.get("DEPLOYKIT_MACHINE_SECONDS", "40"))
SEED = int(os.environ.get("DEPLOYKIT_MACHINE_SEED", "1"))
MEMORY = Path("/dev/shm")  # flushed in no time


class Watch:
    """Ends the search, but never the shrinking of what it found, when its time is over."""

    def __init__(self) -> None:
        self._end = time.monotonic() + SECONDS
        self._has_found = False
        self.tried = 0

    @property
    def is_over(self) -> bool:
        """Return whether no further example is to be tried."""
        return not self._has_found and time.monotonic() > self._end

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one example."""
        self.tried += 1
        try:
            yield
        except BaseException:
            self._has_found = True
            raise


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Give three hosts, used by all examples one after the other."""
    parent = MEMORY if MEMORY.is_dir() else tmp_path_factory.getbasetemp()
    with TemporaryDirectory(dir=parent) as folder, farm(Path(folder), tuple(HOSTS)) as made:
        yield made


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    """Give a watch for the whole search."""
    made = Watch()
    yield made
    print(f"\n{made.tried} examples, DEPLOYKIT_MACHINE_SEED={SEED}")


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_to_be_hard(machines: Farm, name: str) -> None:
    """The same as below, for what chance may not bring; `Play` itself judges."""
    with world(machines) as made:
        Play(KNOWN[name], made, machines.project).do()


@seed(SEED)
@settings(
    max_examples=max(1, int(SECONDS)),
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(case=CASES)
def test_the_state_machine_holds(machines: Farm, watch: Watch, case: Case) -> None:
    """Whatever happens, every effect is done once, and the end is exactly old or exactly new."""
    if watch.is_over:
        return
    with watch.one(), world(machines) as made:
        Play(case, made, machines.project).do()
