"""
How long an upload takes, beside rsync, scp, sftp, tar through zstd and ssh, and Python's tools.

    python benchmarks/transfer.py [--runs N] [--link LINK]... [--within SECONDS] [TREE...]
    python benchmarks/transfer.py --quick

As root, with `rsync` and `zstd` on this machine. Trees: (a) an application of about 5,000 files and
100 MB, (b) 40,000 tiny files, (c) one file of 2 GB, (d) 300 files of 200 kB; all by default. Links
with a round-trip time of 0, 50 and 150 ms, each unlimited and, for (a), at 100 Mbit/s; (b) to (d)
at 0 and 50 ms. Of the runs (2) the quickest counts.

*stage* is the `Transfer` stage, beside each peer over an open ControlMaster; *whole* is the whole
command: for deploykit from the start of Python to the end table, with the lock, the journal and a
`Publish`. *SFTP alone* is the same for a user with a chrooted `internal-sftp` and no shell. What
deploykit has sent is compared byte for byte and mode for mode. The host writes to a tmpfs.

Fabric, pyinfra and Ansible do the first upload of (a), and the one of nothing, once, at 0 and
50 ms; what they have not done within ten minutes is dropped, there and over slower links.

`--quick` shows in less than a minute that all of this works, with a few files of (a) over one link.
It keeps no results, and has no goals. Otherwise the exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.parts.bench import Relay, go_first, table  # noqa: E402 - found by the line above
from benchmarks.parts.peers import Login  # noqa: E402
from benchmarks.transfer_parts import others, trees  # noqa: E402
from benchmarks.transfer_parts.goals import (  # noqa: E402
    LINKS,
    Costs,
    Found,
    goals,
    least,
    memory,
    report,
)
from benchmarks.transfer_parts.tools import (  # noqa: E402
    ALONE,
    CAT,
    FULL,
    OURS,
    PEERS,
    PLACE,
    SERIES,
    Tools,
    prepare,
)
from tests.farm import Farm, Host  # noqa: E402
from tests.farm.wheels import wheelhouse  # noqa: E402

RUNS = 2
WITHIN = 600  # seconds for one of the others
SAMPLE = 3  # files
FEW = ("0 ms", "50 ms")  # links for the other trees than (a), and for the others
# One request after another for every file: minutes over any other link, and longer than the limit.
ONE_BY_ONE = ("scp -r", "sftp put -r")
RESULTS = ROOT / "benchmarks" / "results"


@dataclass
class Measured:
    """
    What was found with a tree.

    Args:
        files: in it.
        size: bytes.
        found: what took part over every link.
        others: seconds of the others by link, case and name.
        dropped: why one of the others was, by name.
        costs: what is known of its own to take time.
    """

    files: int = 0
    size: int = 0
    found: Found = field(default_factory=dict)
    others: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    costs: Costs = field(default_factory=lambda: Costs(0, 0, 0))


@dataclass
class Bench:
    """
    A host to which everything is sent.

    Args:
        host: prepared.
        ports: of this machine, that lead to it, by link.
        folder: in memory, for everything on this side.
        wheels: from which trees are made.
        programs: where the others are.
        asked: what was typed.
    """

    host: Host
    ports: Mapping[str, int]
    folder: Path
    wheels: Path
    programs: Path
    asked: argparse.Namespace

    def measure(self, tree: str) -> Measured:
        """Measure all that is to be measured with *tree*."""
        measured = Measured()
        tools = {
            link: self._begin(tree, port, measured)
            for link, port in self.ports.items()
            if tree == "a" or link in FEW or self.asked.link
        }
        for _ in range(self.asked.runs):
            for link, at in tools.items():
                at.forget()
                self._upload(tree, link, at, measured)
        source = next(iter(tools.values())).source
        measured.costs = Costs(startup(), packed(source), copying(self.host))
        if tree == "a":
            for link in [link for link in FEW if link in tools]:
                tools[link].forget()
                self._upload_by_others(link, tools[link], measured)
        for at in tools.values():  # the next tree may need the memory
            at.forget()
            shutil.rmtree(at.project)
        return measured

    def _begin(self, tree: str, port: int, measured: Measured) -> Tools:
        """Make a tree, to be sent by a port."""
        project = self.folder / f"project-{port}"
        sample = SAMPLE if self.asked.quick else 0
        made = trees.make(tree, project / "tree", self.wheels, sample=sample)
        measured.files, measured.size = made
        return Tools(self.host, port, project, self.folder)

    def _upload(self, tree: str, link: str, at: Tools, measured: Measured) -> None:
        """Have everyone do each case over a link."""
        cases = list(trees.CASES.items())
        if tree == "c":
            del cases[1:]  # a file that has changed is sent whole by all of them
        for number, (case, change) in enumerate(cases):
            change(at.source)
            by = measured.found.setdefault(link, {}).setdefault(case, {})
            for name in (*SERIES, *peers(tree, link, case)):
                keep = number + 1 < len(cases)
                took = at.ours(name) if name in SERIES else at.peer(name, number, keep=keep)
                by.setdefault(name, []).append(took)
                print(f"{tree} {link} {case} {name}: {took.stage:.2f} {took.whole:.2f} s")

    def _upload_by_others(self, link: str, at: Tools, measured: Measured) -> None:
        """Have the others do their cases over a link, if they are not too slow for it."""
        for name in others.OTHERS:
            stem = name.replace(" ", "-")
            login = Login(self.programs, self.host, at.port, self.folder / f"{stem}-{at.port}")
            for case in ("first", "unchanged"):
                if name in measured.dropped:
                    break
                try:
                    took = others.send(name, login, at.source, f"{PLACE}/{stem}", self.asked.within)
                except others.Dropped as reason:
                    measured.dropped[name] = f"{link}, {case}: {reason}"
                    print(f"{name} is dropped, {measured.dropped[name]}")
                else:
                    measured.others.setdefault(link, {}).setdefault(case, {})[name] = took
                    print(f"{link} {case} {name}: {took:.2f} s")
            self.host.root(f"rm -rf {PLACE}/{stem}")


def peers(tree: str, link: str, case: str) -> list[str]:
    """Return who takes part in an upload besides deploykit."""
    names = [name for name in PEERS if case == "first" or name not in FULL]
    if link != "0 ms" or tree == "b":
        names = [name for name in names if name not in ONE_BY_ONE]
    return [name for name in names if name != CAT or tree == "c"]


def startup() -> float:
    """Return how long `deploykit --help` takes."""
    return seconds(sys.executable, "-m", "deploykit", "--help")


def packed(source: Path) -> int:
    """Return how many bytes a tree has when it is compressed."""
    command = f"tar -C {source} -cf - . | zstd -q | wc -c"
    return int(subprocess.check_output(command, shell=True))


def copying(host: Host) -> float:
    """Return how much longer *host* takes to copy the tree that it has than to link it."""
    took = []
    for option in ("-a", "-al"):
        began = time.monotonic()
        host.root(f"cp {option} {SERIES[OURS][1]}/current/. {PLACE}/copied", within=300)
        took.append(time.monotonic() - began)
        host.root(f"rm -rf {PLACE}/copied")
    return max(0.0, took[0] - took[1])


def seconds(*words: str) -> float:
    """Return how long a command takes, of three tries the quickest."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        took.append(time.monotonic() - began)
    return min(took)


def shown(tree: str, measured: Measured) -> str:
    """Return the tables of a tree."""
    title = f"({tree}) {measured.files:,} files, {measured.size / 1e6:,.0f} MB"
    texts = [clocked(f"{title}: {clock}", clock, measured.found) for clock in ("stage", "whole")]
    if measured.others:
        texts.append(beside_others(f"{title}: whole", measured))
    used = ", ".join(f"{name} {memory(measured.found, name) / 1e6:.0f} MB" for name in SERIES)
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    texts.append(f"Peak memory of the controller: {used} (less than {floor:.0f} cannot be seen)\n")
    return "\n".join(texts)


def clocked(title: str, clock: str, found: Found) -> str:
    """Return what everyone took by a clock; the ratios are deploykit's to each peer's."""
    present = {name for cases in found.values() for tools in cases.values() for name in tools}
    names = [name for name in PEERS if name in present]
    rows = []
    for link, cases in found.items():
        for case, tools in cases.items():
            took = {name: getattr(least(tries), clock) for name, tries in tools.items()}
            cells = [ratio(took, took[OURS], name) for name in names]
            alone = f"{took[ALONE]:.2f} ({took[ALONE] / took['rsync -a']:.2f})"
            rows.append([f"{link}: {case}", f"{took[OURS]:.2f}", alone, *cells])
    head = ["", OURS, "SFTP alone (to rsync -a)", *names]
    return table(f"{title}, seconds (ratio)", head, rows)


def ratio(took: Mapping[str, float], ours: float, name: str) -> str:
    """Return a peer's seconds, and how many times as long *ours* are."""
    return f"{took[name]:.2f} ({ours / took[name]:.2f})" if name in took else "-"


def beside_others(title: str, measured: Measured) -> str:
    """Return what the others took."""
    rows = []
    for link, cases in measured.others.items():
        for case, took in cases.items():
            ours = least(measured.found[link][case][OURS]).whole
            cells = [ratio(took, ours, name) for name in others.OTHERS]
            rows.append([f"{link}: {case}", f"{ours:.2f}", *cells])
    notes = [f"{name}: dropped, {reason}\n" for name, reason in measured.dropped.items()]
    text = table(f"{title}, seconds (ratio)", ["", OURS, *others.OTHERS], rows)
    return "".join([text, *notes])


def asked() -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(description="Measure uploads; see the top of this file.")
    parser.add_argument("trees", nargs="*", metavar="TREE", help=", ".join(trees.TREES))
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--link", action="append", choices=LINKS, help="all if not given")
    parser.add_argument("--within", type=float, default=WITHIN, help="seconds for slow peers")
    parser.add_argument("--quick", action="store_true", help="see that everything works")
    words = parser.parse_args()
    if words.quick:
        words.trees, words.runs, words.link = ["a"], 1, ["0 ms"]
    for tree in words.trees:
        if tree not in trees.TREES:
            parser.error(f"there is no tree {tree}")
    return words


def main() -> int:
    """Measure, print, keep; return the exit code."""
    words = asked()
    for program in ("rsync", "zstd"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is missing: apt-get install rsync zstd")
    load = os.getloadavg()[0]
    go_first()
    farm = Farm()
    farm.up()
    try:
        assert farm.outside
        wheels = wheelhouse(*trees.PACKAGES, outside=farm.outside)
        programs = others.install(farm.outside)
        farm.enter()
        host = farm.boot()[0]
        prepare(host)
        measured = measure(host, wheels, programs, words)
    finally:
        farm.down()
    if words.quick:
        print("\n" + "\n".join(shown(tree, one) for tree, one in measured.items()), end="")
        return 0
    about = {
        "runs": words.runs,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"processors": os.cpu_count(), "load before": round(load, 1)},
        "versions": {
            "python": sys.version.split()[0],
            "rsync": version("rsync", "--version"),
            **others.versions(programs),
        },
    }
    return kept(measured, about)


def measure(
    host: Host, wheels: Path, programs: Path, words: argparse.Namespace
) -> dict[str, Measured]:
    """Return what was found with each tree that *words* ask for."""
    links = words.link or list(LINKS)
    relay = Relay(host.ip, [LINKS[link].relay for link in links])
    try:
        with tempfile.TemporaryDirectory(prefix="dk-", dir="/dev/shm") as folder:
            os.environ.update(HOME=folder, XDG_STATE_HOME=f"{folder}/state", PYTHONPATH=str(ROOT))
            ports = dict(zip(links, relay.ports, strict=True))
            bench = Bench(host, ports, Path(folder), wheels, programs, words)
            return {tree: bench.measure(tree) for tree in words.trees or trees.TREES}
    finally:
        relay.close()


def kept(measured: Mapping[str, Measured], about: Mapping[str, Any]) -> int:
    """Print and keep what was found; return the exit code."""
    wanted = {tree: goals(tree, one.found) for tree, one in measured.items()}
    costs = {tree: one.costs for tree, one in measured.items()}
    text = "\n".join([*(shown(tree, one) for tree, one in measured.items()), report(wanted, costs)])
    print(f"\n{text}", end="")
    document = {"trees": {tree: as_json(one) for tree, one in measured.items()}, **about}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "transfer.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / "transfer.txt").write_text(text)
    return 1 if any(goal.missed for each in wanted.values() for goal in each) else 0


def as_json(measured: Measured) -> dict[str, Any]:
    """Return what was found with a tree, of all tries the least."""
    return {
        "files": measured.files,
        "bytes": measured.size,
        "links": {
            link: {
                case: {name: asdict(least(tries)) for name, tries in tools.items()}
                for case, tools in cases.items()
            }
            for link, cases in measured.found.items()
        },
        "others": measured.others,
        "dropped": measured.dropped,
        "costs": asdict(measured.costs),
    }


def version(*words: str) -> str:
    """Return the first line that a program says of itself."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
