"""
What journal, lock, receipts, guardian and end table cost: round trips and seconds, near and far.

    python benchmarks/engine.py [RUNS]

As root. Deploys an application by seven stages to a host of the test bed (Transfer, Install,
Backup, Pause, Migrate, Restart, SmokeTest), through a relay with a round-trip time of 0, 50 and
150 ms, and looks at it; Ansible and pyinfra do the same commands in between. Of RUNS tries (3) the
quickest counts. A round trip is what a run takes longer by, over a link that is slower by one.
Everything goes before whatever else the machine does, which must not be counted.

What is found is kept in `benchmarks/results/`, as JSON and as it is printed. Exit code 1 if a goal
is missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.engine_parts import peers, receipts  # noqa: E402 - found by the line above
from benchmarks.parts.bench import Relay, go_first, table  # noqa: E402
from tests.farm import Farm  # noqa: E402
from tests.farm.wheels import wheelhouse  # noqa: E402
from tests.faults.site import Site  # noqa: E402
from tests.real import shop  # noqa: E402

TRIPS = (0.0, 0.05, 0.15)  # seconds
RUNS = 3
RECEIPTS = 50
RUN_GOAL, STATUS_GOAL, RECEIPT_GOAL = 30, 10, 0.015
RESULTS = ROOT / "benchmarks" / "results"
OURS = "deploykit"

Found = dict[str, Any]


class Bench:
    """
    A host on which everything is measured, and the relays to it.

    Args:
        site: prepared.
        programs: where Ansible and pyinfra are.
    """

    def __init__(self, site: Site, programs: Path) -> None:
        self.site = site
        self.programs = programs
        self._tried = 0
        self._relay = Relay(site.host.ip, [str(trip) for trip in TRIPS])
        self.ports = dict(zip(TRIPS, self._relay.ports, strict=True))

    def close(self) -> None:
        """End the relays."""
        self._relay.close()

    def begin(self) -> None:
        """Deploy the first version, to which every try goes back."""
        self._controller("run", "v1", self.ports[0.0])
        self.site.keep("old", self._controller("run", "v1", self.ports[0.0])["release"])

    def deployed(self, port: int) -> Found:
        """Have deploykit deploy the second version."""
        self.site.restore("old")
        return self._controller("run", "v2", port)

    def looked(self, port: int) -> Found:
        """Have deploykit look at what it has deployed."""
        return self._controller("status", "v2", port)

    def peer(self, name: str, port: int) -> Found:
        """Have another tool deploy the second version."""
        self.site.restore("old")
        self._tried += 1
        folder = self.site.folder / f"p{self._tried}"
        return {"whole": peers.run(name, self.programs, self.site, port, folder)}

    def _controller(self, verb: str, version: str, port: int) -> Found:
        order = {
            "verb": verb,
            "target": {**self.site.target, "address": "127.0.0.1", "port": port},
            "project": str(self.site.project(version)),
            "url": f"http://{self.site.host.ip}:8000/page",
        }
        words = [sys.executable, "-m", "benchmarks.engine_parts.controller", json.dumps(order)]
        began = time.monotonic()
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{verb} failed:\n{done.stdout}\n{done.stderr}")
        found: Found = json.loads(done.stdout)
        return {**found, "whole": time.monotonic() - began}


def measured(bench: Bench, runs: int) -> dict[str, dict[float, Found]]:
    """Return the quickest of *runs* of each, by what was done and round-trip time, in turns."""
    # The look comes after the run that it looks at.
    acts: dict[str, Callable[[int], Found]] = {
        OURS: bench.deployed,
        "status": bench.looked,
        **{name: lambda port, name=name: bench.peer(name, port) for name in peers.NAMES},  # type: ignore[misc]
    }
    found: dict[str, dict[float, list[Found]]] = {act: {trip: [] for trip in TRIPS} for act in acts}
    for _ in range(runs):
        for trip, port in bench.ports.items():
            for act, do in acts.items():
                found[act][trip].append(do(port))
                print(f"{act} at {trip * 1000:.0f} ms: {found[act][trip][-1]['whole']:.1f} s")
    return {act: {trip: least(tries) for trip, tries in by.items()} for act, by in found.items()}


def least(tries: Sequence[Any]) -> Any:
    """Return the least of every number in *tries*, which are alike."""
    first = tries[0]
    if isinstance(first, Mapping):
        names = [name for name in first if all(name in each for each in tries)]
        return {name: least([each[name] for each in tries]) for name in names}
    return first if isinstance(first, str) else min(tries)


def trips(by: Mapping[float, Found], *path: str, less: str = "") -> float:
    """Return how many round trips *path* of what was found takes, from the nearest and farthest."""
    near, far = (_at(by[trip], path, less) for trip in (TRIPS[0], TRIPS[-1]))
    return (far - near) / (TRIPS[-1] - TRIPS[0])


def _at(found: Found, path: Sequence[str], less: str) -> float:
    *way, last = path
    for name in way:
        found = found[name]
    return float(found[last]) - (float(found[less]) if less else 0.0)


def spread(by: Mapping[float, Found], *path: str) -> list[str]:
    """Return what *path* took at each round-trip time."""
    return [f"{_at(by[trip], path, ''):.2f} s" for trip in TRIPS]


def shown(found: Mapping[str, Any]) -> str:
    """Return everything as tables."""
    ours = found["acts"][OURS]
    times = [f"{trip * 1000:.0f} ms" for trip in TRIPS]
    connecting = ["connecting", f"{trips(ours, 'connecting'):.1f}", *spread(ours, "connecting")]
    looking = [f"{found['status']:.1f}", *spread(found["acts"]["status"], "in all")]
    host = [
        [name, f"{one['median'] * 1000:.1f} ms", f"{one['least'] * 1000:.1f} ms"]
        for name, one in found["receipts"].items()
    ]
    return "\n".join(
        [
            table(
                f"A run of seven stages; {found['files']:.1f} round trips more for files",
                ["phase", "calls", "in a row", "round trips", *times],
                by_phase(found, ours),
            ),
            table("What makes it safe", ["", "calls", *times], by_purpose(found, ours)),
            table(
                "Before a run, and a look",
                ["", "round trips", *times],
                [connecting, ["status, with connecting", *looking]],
            ),
            table(
                "The same seven commands in all (how many times as long deploykit takes)",
                ["", "round trips", *times],
                by_tool(found, ours),
            ),
            table(
                f"On the host: `true` by the runner and by sh, and one record; {RECEIPTS} of each",
                ["", "median", "least"],
                host,
            ),
            goals(found),
        ]
    )


def by_phase(found: Mapping[str, Any], ours: Mapping[float, Found]) -> list[list[str]]:
    """Return the rows that tell where a run's round trips are."""
    far = ours[TRIPS[-1]]
    rows = []
    for phase, counted in far["phases"].items():
        way = ("phases", phase)
        beyond = trips(ours, *way, "seconds") - trips(ours, *way, "files")
        numbers = [str(counted["asked"]), str(counted["row"]), f"{beyond:.1f}"]
        rows.append([phase, *numbers, *spread(ours, *way, "seconds")])
    numbers = [str(far["asked"]), str(far["row"]), f"{found['run']:.1f}"]
    return [*rows, ["all after connecting", *numbers, *spread(ours, "seconds")]]


def by_purpose(found: Mapping[str, Any], ours: Mapping[float, Found]) -> list[list[str]]:
    """Return the rows that tell what journal, lock, receipts, guardian and end table take."""
    sorts = ours[TRIPS[-1]]["sorts"]
    rows = [
        [sort, str(sorts[sort]["calls"]), *spread(ours, "sorts", sort, "seconds")]
        for sort in ("journal", "lock", "guardian")
    ]
    # The commands' own round trips and work would be there without receipts.
    commands = sorts["commands"]["calls"]
    rows.append(["receipts", str(commands), *[f"{found['receipt'] * commands:.2f} s"] * len(TRIPS)])
    measured_by = str(ours[TRIPS[-1]]["phases"]["end table"]["asked"])
    rows.append(["end table", measured_by, *spread(ours, "phases", "end table", "seconds")])
    return rows


def by_tool(found: Mapping[str, Any], ours: Mapping[float, Found]) -> list[list[str]]:
    """Return the rows that compare deploykit with the others."""
    rows = []
    for act in (OURS, *peers.NAMES):
        by = found["acts"][act]
        ratios = [f"{ours[trip]['whole'] / by[trip]['whole']:.2f}" for trip in TRIPS]
        cells = [
            f"{cell} ({ratio})" for cell, ratio in zip(spread(by, "whole"), ratios, strict=True)
        ]
        rows.append([act, f"{trips(by, 'whole'):.1f}", *cells])
    return rows


def goals(found: Mapping[str, Any]) -> str:
    """Return each goal beside what was found."""
    rows = [[name, f"{number:.1f}", f"{goal:g}"] for name, number, goal in wanted(found)]
    return table("Goals", ["", "found", "allowed"], rows)


def wanted(found: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return what is to be reached: its name, what was found, what is allowed."""
    return [
        ("round trips of a run", found["run"], RUN_GOAL),
        ("its calls in a row", found["acts"][OURS][TRIPS[-1]]["row"], RUN_GOAL),
        ("round trips of a status", found["status"], STATUS_GOAL),
        ("milliseconds of a receipt", found["receipt"] * 1000, RECEIPT_GOAL * 1000),
    ]


def main() -> int:
    """Measure, print, keep; return the exit code."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    go_first()
    farm = Farm()
    farm.up()
    try:
        assert farm.outside
        wheels = wheelhouse(*shop.WHEELS, outside=farm.outside)
        programs = peers.install(farm.outside)
        farm.enter()
        with tempfile.TemporaryDirectory(prefix="dk-") as folder:
            os.environ.update(HOME=folder, XDG_STATE_HOME=f"{folder}/state")
            site = Site(farm.boot()[0], Path(folder) / "site")
            site.prepare(wheels)
            bench = Bench(site, programs)
            try:
                bench.begin()
                load = os.getloadavg()[0]
                took = receipts.measure(site.host, RECEIPTS)
                acts = measured(bench, runs)
            finally:
                bench.close()
    finally:
        farm.down()
    found: Found = {
        "acts": acts,
        "run": trips(acts[OURS], "seconds") - trips(acts[OURS], "phases", "transfer", "files"),
        "files": trips(acts[OURS], "phases", "transfer", "files"),
        "status": trips(acts["status"], "in all"),
        "receipts": took,
        "receipt": took["exec"]["median"] - took["plain"]["median"],
        "runs": runs,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"processors": os.cpu_count(), "load before": round(load, 1)},
        "versions": {"python": sys.version.split()[0], **peers.versions(programs)},
    }
    text = shown(found)
    print(f"\n{text}", end="")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "engine.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "engine.txt").write_text(text)
    return 0 if all(round(number, 1) <= goal for _, number, goal in wanted(found)) else 1


if __name__ == "__main__":
    sys.exit(main())
