"""
A sample of the kill matrix, for as long as there is time; `nox -s faults` goes through all of it.

DEPLOYKIT_FAULTS_SEED repeats a sample, DEPLOYKIT_FAULTS_SECONDS says how long one may take.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

import pytest

from tests.farm import Hosts
from tests.faults.driving import drive
from tests.faults.matrix import Case, Outcome
from tests.faults.site import Site
from tests.real import shop

# Read here: the tests' own fixture empties the environment of such names.
SEED = int(os.environ.get("DEPLOYKIT_FAULTS_SEED", SystemRandom().randrange(1 << 16)))
SECONDS = float(os.environ.get("DEPLOYKIT_FAULTS_SECONDS", "60"))


def test_a_killed_controller_is_survived(
    module_hosts: Hosts,
    wheelhouse: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever the effect and the moment, the next one finishes or undoes it, exactly once."""
    sites = [Site(host, tmp_path / host.name) for host in module_hosts(2)]
    wheels = wheelhouse(*shop.WHEELS)

    def tell(outcome: Outcome) -> None:
        with capfd.disabled():
            print(f"\n{outcome.line()}", end="", flush=True)

    with capfd.disabled():
        print(f"\nsample of the kill matrix: DEPLOYKIT_FAULTS_SEED={SEED}", end="", flush=True)
    outcomes = drive(sites, wheels, SEED, within=SECONDS, tell=tell)
    assert outcomes
    assert not [str(outcome.case) for outcome in outcomes if outcome.wrong]


def test_a_case_is_repeated_by_its_name() -> None:
    """What a report calls a case is all that it takes."""
    text = "forward.28.cut.rollback.away.fresh.n2.full.s7"
    assert str(Case.parse(text)) == text
