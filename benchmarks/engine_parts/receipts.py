"""What a receipt costs on the host itself: `true` by the runner, beside a plain `sh -c true`."""

from __future__ import annotations

import base64
import json
from typing import Any

from deploykit.command import Command
from deploykit.engine.events import Events
from deploykit.engine.interrupts import Interrupts
from deploykit.engine.receipts import UnitHost, command_name
from deploykit.engine.session import Session, sealed
from deploykit.host import script
from deploykit.layout import Layout
from deploykit.scrub import Scrubber
from tests.farm import Host

__all__ = ["measure"]

ROOT = "/srv/receipts"
RUN = "20000101T000000Z-00000000"
HEAT = 3  # runs that are not counted: the disk's cache fills

# Timed by the host's own Python; no login, no network, nothing waits between two of them.
TIMING = """
import base64, json, statistics, subprocess, sys, time

def seconds(words, text):
    began = time.perf_counter()
    done = subprocess.run(words, input=text, capture_output=True)
    return time.perf_counter() - began, done.stderr

order = json.load(sys.stdin)
runner = ["sh", "-c", 'exec "$@"', "-", "sh", order["runner"], order["root"]]
took = {"exec": [], "plain": [], "append": []}
for words, text in order["first"]:
    seconds(runner + words, base64.b64decode(text))
for words, text in order["each"]:
    one, answer = seconds(runner + words, base64.b64decode(text))
    if b"ended 0 ran" not in answer:
        sys.exit(f"the runner answered {answer!r}")
    took["exec"].append(one)
    took["plain"].append(seconds(["sh", "-c", "true"], b"")[0])
    words, text = order["append"]
    took["append"].append(seconds(runner + words, base64.b64decode(text))[0])
counted = {name: all_[order["heat"]:] for name, all_ in took.items()}
print(json.dumps({
    name: {"median": statistics.median(all_), "least": min(all_)} for name, all_ in counted.items()
}))
"""


def measure(host: Host, count: int) -> dict[str, dict[str, float]]:
    """Return the median and the least of *count* of each, in seconds."""
    host.root(f"rm -rf {ROOT}; install -d -o deploy {ROOT}")
    layout = Layout(ROOT)
    path = f"{ROOT}/runner.sh"
    host.write(path, script("runner.sh"))
    host.write(f"{ROOT}/timing.py", TIMING)
    host.ssh(f"mkdir -p {layout.private}")
    order = {
        "runner": path,
        "root": ROOT,
        "heat": HEAT,
        "first": [_words("lock", RUN, "0", text=json.dumps({"run": RUN}) + "\n")],
        "each": [_command(layout, number) for number in range(count + HEAT)],
        "append": _words(
            "append", "1", f"runs/{RUN}/journal.jsonl", text='{"kind":"applied","stage":"one"}\n'
        ),
    }
    answer = host.ssh(f"python3 {ROOT}/timing.py", input=json.dumps(order), within=300)
    found: dict[str, dict[str, float]] = json.loads(answer.stdout)
    return found


def _command(layout: Layout, number: int) -> Any:
    session: Any = Session("host", None, layout, Scrubber())  # type: ignore[arg-type]  # only its words
    unit = UnitHost(
        session, RUN, 1, "stage", "apply", 1, {}, (), Events().bind(run=RUN), Interrupts()
    )
    ident = f"{command_name('stage', 'apply', f'key{number}')}.1"
    return _words("exec", RUN, ident, "1", text=unit.message(Command(f"key{number}", "true")))


def _words(*words: str, text: str) -> tuple[tuple[str, ...], str]:
    return words, base64.b64encode(sealed(text)).decode()
