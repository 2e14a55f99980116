"""Going through cases on several servers at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.matrix import Bench, Case, Outcome, cases
from tests.faults.site import Site

__all__ = ["drive"]


def drive(
    sites: Sequence[Site],
    wheels: Path,
    seed: int,
    *,
    chosen: Sequence[Case] = (),
    limit: int | None = None,
    within: float | None = None,
    tell: Callable[[Outcome], None],
) -> list[Outcome]:
    """
    Go through cases on all of *sites* at once.

    Args:
        sites: servers, not prepared yet.
        wheels: what their virtual environment is made of.
        seed: of the cases and their order.
        chosen: these and no others.
        limit: at most so many.
        within: seconds after which no further case is begun.
        tell: told of each that is over.
    """
    with ThreadPoolExecutor(len(sites)) as pool:
        benches = list(pool.map(lambda site: _bench(site, wheels), sites))
        effects = next(iter(list(pool.map(Bench.begin, benches))))
        left = list(chosen or cases(effects, seed))[:limit][::-1]
        end = None if within is None else time.monotonic() + within
        lock = threading.Lock()
        outcomes: list[Outcome] = []

        def work(bench: Bench) -> None:
            while True:
                with lock:
                    if not left or (end is not None and time.monotonic() > end):
                        return
                    case = left.pop()
                outcome = bench.run(case)
                with lock:
                    outcomes.append(outcome)
                    tell(outcome)

        try:
            list(pool.map(work, benches))
        finally:
            for bench in benches:
                bench.close()
    return outcomes


def _bench(site: Site, wheels: Path) -> Bench:
    site.prepare(wheels)
    return Bench(site)
