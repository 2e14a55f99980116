"""
How long `deploykit --help` takes, beside `python3 -c "import typer"`, on which it stands.

    python benchmarks/startup.py [RUNS]

Both are started in turn, so that a busy machine slows both. Exit code 1 if the median of the first
is more than four times that of the second: then something heavy is imported where it is not used.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15
ALLOWED = 4.0
COMMANDS = {
    "deploykit --help": [sys.executable, "-m", "deploykit", "--help"],
    "import typer": [sys.executable, "-c", "import typer"],
}


def seconds(command: list[str]) -> float:
    """Return how long *command* took."""
    root = Path(__file__).resolve().parent.parent
    began = time.perf_counter()
    subprocess.run(command, cwd=root, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def medians(runs: int) -> dict[str, float]:
    """Return the median of each command, after one run of each that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(runs + 1):
        for name, command in COMMANDS.items():
            took = seconds(command)
            if number:  # the first one compiles and fills the disk's cache
                taken[name].append(took)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> int:
    """Print both medians; return the exit code."""
    found = medians(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
    for name, median in found.items():
        print(f"{name:<18} {median * 1000:6.0f} ms")
    ours, theirs = found.values()
    print(f"{'ratio':<18} {ours / theirs:6.2f}    (allowed: {ALLOWED:g})")
    return 0 if ours <= ALLOWED * theirs else 1


if __name__ == "__main__":
    sys.exit(main())
