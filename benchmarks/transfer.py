"""
How long an upload takes, beside rsync, scp, sftp, and tar through zstd and ssh.

    python benchmarks/transfer.py [RUNS] [TREE...]

As root, with `rsync` and `zstd` on this machine. Trees: (a) an application of about 5,000 files and
100 MB, (b) 40,000 tiny files, (c) one file of 2 GB, (d) 300 files of 200 kB; all by default. Links
with a round-trip time of 0, 50 and 150 ms, each unlimited and, for (a), at 100 Mbit/s; (b) to (d)
at 0 and 50 ms. Of RUNS tries (2) the quickest counts.

*stage* is the `Transfer` stage, beside each peer over an open ControlMaster; *whole* is the whole
command: for deploykit from the start of Python to the end table, with the lock, the journal and a
`Publish`. What deploykit has sent is compared byte for byte and mode for mode. The host writes to a
tmpfs. Exit code 1 if a goal is missed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.parts.bench import Relay, go_first, table  # noqa: E402 - found by the line above
from benchmarks.transfer_parts import trees  # noqa: E402
from benchmarks.transfer_parts.tools import FULL, OURS, PEERS, PLACE, Took, Tools  # noqa: E402
from tests.farm import Farm  # noqa: E402
from tests.farm.wheels import wheelhouse  # noqa: E402

RUNS = 2
NARROW = 100e6 / 8  # bytes a second
LINKS = {
    "0 ms": "0",
    "0 ms, 100 Mbit/s": f"0@{NARROW:.0f}",
    "50 ms": "0.05",
    "50 ms, 100 Mbit/s": f"0.05@{NARROW:.0f}",
    "150 ms": "0.15",
    "150 ms, 100 Mbit/s": f"0.15@{NARROW:.0f}",
}
FEW = ("0 ms", "50 ms")  # links for the other trees than (a)
# One request after another for every file: minutes over any other link, and longer than the limit.
ONE_BY_ONE = ("scp -r", "sftp put -r")
RESULTS = ROOT / "benchmarks" / "results"

Found = dict[str, dict[str, dict[str, list[Took]]]]
"""By link, case and tool: every try."""


def measured(tools: dict[str, Tools], runs: int, tree: str) -> Found:
    """Return what each tool took for each case over each link."""
    found: Found = {}
    for _ in range(runs):
        for link, at in tools.items():
            at.forget()
            for number, (case, change) in enumerate(trees.CASES.items()):
                if tree == "c" and number:
                    break  # a file that has changed is sent whole by all of them
                change(at.source)
                by = found.setdefault(link, {}).setdefault(case, {})
                for name in names(link, number, tree):
                    took = at.ours() if name == OURS else at.peer(name, number)
                    by.setdefault(name, []).append(took)
                    print(f"{tree} {link} {case} {name}: {took.stage:.2f} {took.whole:.2f} s")
    return found


def names(link: str, number: int, tree: str) -> list[str]:
    """Return who takes part in an upload."""
    peers = [name for name in PEERS if not number or name not in FULL]
    if link != "0 ms" or tree == "b":
        peers = [name for name in peers if name not in ONE_BY_ONE]
    return [OURS, *peers]


def least(tries: list[Took]) -> Took:
    """Return the least of each clock, and the most memory."""
    return Took(
        min(one.whole for one in tries),
        min(one.stage for one in tries),
        max(one.memory for one in tries),
    )


def shown(tree: str, size: tuple[int, int], found: Found) -> str:
    """Return the tables of a tree."""
    texts = []
    for clock in ("stage", "whole"):
        rows = []
        for link, cases in found.items():
            for case, tools in cases.items():
                took = {name: getattr(least(tries), clock) for name, tries in tools.items()}
                cells = [
                    f"{took[name]:.2f} ({took[OURS] / took[name]:.2f})" if name in took else "-"
                    for name in PEERS
                ]
                rows.append([f"{link}: {case}", f"{took[OURS]:.2f}", *cells])
        title = f"({tree}) {size[0]:,} files, {size[1] / 1e6:,.0f} MB: {clock}, seconds (ratio)"
        texts.append(table(title, ["", OURS, *PEERS], rows))
    memory = max(least(tools[OURS]).memory for cases in found.values() for tools in cases.values())
    return "\n".join([*texts, f"Memory of the controller: {memory / 1e6:.0f} MB\n"])


def goals(tree: str, found: Found) -> list[tuple[str, float, float]]:
    """Return what is to be reached: its name, what was found, what is allowed."""
    wanted = []
    for link, cases in found.items():
        for case, tools in cases.items():
            stage = {name: least(tries).stage for name, tries in tools.items()}
            whole = {name: least(tries).whole for name, tries in tools.items()}
            of = f"({tree}) {link}, {case}"
            best = min(stage["rsync -a"], stage["rsync -az"])
            allowed = 1.0 if case == "first" else 0.5
            wanted.append((f"{of}: stage to the best rsync", stage[OURS] / best, allowed))
            if case == "first":
                ratio = stage[OURS] / stage["tar|zstd|ssh"]
                wanted.append((f"{of}: stage to tar|zstd|ssh", ratio, 1.15))
            best = min(whole["rsync -a"], whole["rsync -az"])
            allowed = 1.5 if link.startswith("0 ms") else 1.0
            wanted.append((f"{of}: whole to the best rsync", whole[OURS] / best, allowed))
            memory = least(tools[OURS]).memory / 1e6
            wanted.append((f"{of}: MB of memory", memory, 150))
    return wanted


def main() -> int:
    """Measure, print, keep; return the exit code."""
    words = sys.argv[1:]
    runs = int(words.pop(0)) if words and words[0].isdigit() else RUNS
    for program in ("rsync", "zstd"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is missing: apt-get install rsync zstd")
    go_first()
    farm = Farm()
    farm.up()
    found: dict[str, Found] = {}
    sizes: dict[str, tuple[int, int]] = {}
    load = os.getloadavg()[0]
    try:
        assert farm.outside
        wheels = wheelhouse(*trees.PACKAGES, outside=farm.outside)
        farm.enter()
        host = farm.boot()[0]
        host.root(f"mount -t tmpfs -o size=8G tmpfs {PLACE}")
        relay = Relay(host.ip, list(LINKS.values()))
        with tempfile.TemporaryDirectory(prefix="dk-", dir="/dev/shm") as folder:
            os.environ.update(HOME=folder, XDG_STATE_HOME=f"{folder}/state", PYTHONPATH=str(ROOT))
            for tree in words or trees.TREES:
                tools = {}
                for (link, _), port in zip(LINKS.items(), relay.ports, strict=True):
                    if tree == "a" or link in FEW:
                        project = Path(folder) / f"project-{port}"
                        sizes[tree] = trees.make(tree, project / "tree", wheels)
                        tools[link] = Tools(host, port, project, Path(folder))
                found[tree] = measured(tools, runs, tree)
        relay.close()
    finally:
        farm.down()
    return kept(found, sizes, runs, load)


def kept(found: dict[str, Found], sizes: dict[str, tuple[int, int]], runs: int, load: float) -> int:
    """Print and keep what was found; return the exit code."""
    wanted = [goal for tree in found for goal in goals(tree, found[tree])]
    missed = [[name, f"{is_:.2f}", f"{goal:g}"] for name, is_, goal in wanted if is_ > goal]
    text = "\n".join(
        [
            *(shown(tree, sizes[tree], found[tree]) for tree in found),
            table(f"{len(missed)} of {len(wanted)} goals missed", ["", "found", "allowed"], missed),
        ]
    )
    print(f"\n{text}", end="")
    document: dict[str, Any] = {
        "trees": {
            tree: {
                link: {
                    case: {name: asdict(least(tries)) for name, tries in tools.items()}
                    for case, tools in cases.items()
                }
                for link, cases in one.items()
            }
            for tree, one in found.items()
        },
        "runs": runs,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"processors": os.cpu_count(), "load before": round(load, 1)},
        "versions": {"python": sys.version.split()[0], "rsync": version("rsync", "--version")},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "transfer.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / "transfer.txt").write_text(text)
    return 1 if missed else 0


def version(*words: str) -> str:
    """Return the first line that a program says of itself."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
