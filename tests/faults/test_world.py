"""
A sample of the world's faults, for as long as there is time.

DEPLOYKIT_FAULTS_SEED repeats a sample, DEPLOYKIT_FAULTS_SECONDS says how long one may take (`inf`:
all cases), DEPLOYKIT_FAULTS_CASES names cases, as a report does, with spaces between them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import SystemRandom

import pytest

from tests.farm import Hosts
from tests.faults.site import Site
from tests.faults.world import Case, World, cases
from tests.real import shop

# Read here: the tests' own fixture empties the environment of such names.
SEED = int(os.environ.get("DEPLOYKIT_FAULTS_SEED", SystemRandom().randrange(1 << 16)))
SECONDS = float(os.environ.get("DEPLOYKIT_FAULTS_SECONDS", "80"))
CASES = [Case.parse(text) for text in os.environ.get("DEPLOYKIT_FAULTS_CASES", "").split()]


@pytest.fixture(scope="module")
def world(
    module_hosts: Hosts, wheelhouse: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Return a server on which v1 is live."""
    host = module_hosts(1, disk="1G")[0]
    made = World(Site(host, tmp_path_factory.mktemp("world")))
    made.begin(wheelhouse(*shop.WHEELS))
    yield made
    made.close()


def test_the_worlds_faults_are_survived(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever happens, and when: the end is exactly old or exactly new, and nothing is lost."""
    left = CASES or cases(SEED)
    end = time.monotonic() + SECONDS
    wrong = []
    with capfd.disabled():
        print(f"\nsample of the world's faults: DEPLOYKIT_FAULTS_SEED={SEED}", end="", flush=True)
        for case in left:
            if time.monotonic() > end:
                break
            outcome = world.run(case)
            print(f"\n{outcome.line()}", end="", flush=True)
            wrong += [str(case)] if outcome.wrong else []
    assert not wrong


def test_a_case_is_repeated_by_its_name() -> None:
    """What a report calls a case is all that it takes."""
    text = "cut-for-good.migrate.s7"
    assert str(Case.parse(text)) == text
