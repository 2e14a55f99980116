"""`python -m tests.faults`: messages no server sends, and the whole kill matrix; see `--help`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.farm import Farm
from tests.farm.wheels import wheelhouse
from tests.faults.driving import drive
from tests.faults.matrix import Case, Outcome
from tests.faults.site import Site
from tests.faults.table import page
from tests.real import shop
from tests.transport.fuzzing import fuzz


def main() -> int:
    """Go through all cases, or those that are named; return how many went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--hosts", type=int, default=2, help="how many, in parallel (default 2)")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 16))
    parser.add_argument("--table", type=Path, help="where to write the table (Markdown)")
    parser.add_argument("--limit", type=int, help="go through so many cases only")
    parser.add_argument(
        "--messages",
        type=int,
        default=1_000_000,
        help="SFTP messages to read that are nearly right, unless cases are named (a million)",
    )
    parser.add_argument("--verbose", action="store_true", help="say what was done in every case")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="such as a report names them")
    words = parser.parse_args()
    if words.messages and not words.cases:
        fuzz(words.messages)
        print(f"{words.messages} SFTP messages read or refused", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    farm = Farm()
    farm.up()

    def tell(outcome: Outcome) -> None:
        print("\n  ".join([outcome.line(), *(outcome.steps if words.verbose else ())]), flush=True)

    try:
        assert farm.outside
        wheels = wheelhouse(*shop.WHEELS, outside=farm.outside)
        farm.enter()
        with tempfile.TemporaryDirectory(prefix="dk-faults-") as folder:
            sites = [
                Site(host, Path(folder) / host.name) for host in farm.boot(max(1, words.hosts))
            ]
            chosen = [Case.parse(text) for text in words.cases]
            print(f"seed {words.seed}", flush=True)
            outcomes = drive(sites, wheels, words.seed, chosen=chosen, limit=words.limit, tell=tell)
    finally:
        farm.down()
    text = page(outcomes, words.seed)
    print(f"\n{text}")
    if words.table:
        words.table.write_text(text)
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


if __name__ == "__main__":
    raise SystemExit(main())
