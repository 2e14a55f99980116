"""
One run or one look of deploykit in a process of its own, counted: what it prints is JSON.

    python -m benchmarks.engine_parts.controller '{"verb": "run", …}'
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from benchmarks.engine_parts.counting import Call, Calls, CountingTransport, in_a_row, phases
from deploykit.engine import api, fleet
from tests.faults.site import environment

SORTS = {
    "append": "journal",
    "exec": "commands",
    "guardian": "guardian",
    "query": "looking",
    **dict.fromkeys(("prepare", "lock", "unlock"), "lock"),
}
"""What calls are for, by their names; all others are about files."""


def main() -> None:
    """Do what the order says."""
    order = json.loads(sys.argv[1])
    calls = Calls()
    connect = fleet._connect  # noqa: SLF001 - where every transport is made
    fleet._connect = lambda host: CountingTransport(connect(host), calls)  # noqa: SLF001
    whole = environment(order["target"], Path(order["project"]))
    stages: list[Any] = [
        replace(cast("Any", stage), url=order["url"]) if stage.name == "smoke-test" else stage
        for stage in whole.pipeline.stages
        if stage.name != "prune"  # it comes after the end, and would be the eighth
    ]
    shop = replace(whole, pipeline=replace(whole.pipeline, stages=stages))
    began = time.monotonic()
    said = looked(shop, calls) if order["verb"] == "status" else ran(shop, calls)
    ended = time.monotonic()
    connected = calls.marks[0][0]
    asked = [call for call in calls.made if call.sort == "ask"]
    print(
        json.dumps(
            {
                **said,
                "connecting": connected - began,
                "seconds": ended - connected,
                "in all": ended - began,
                "asked": len(asked),
                "row": in_a_row(asked),
                "sorts": sorts(asked),
                "phases": phases(calls, ended),
            }
        )
    )


def ran(shop: Any, calls: Calls) -> dict[str, Any]:
    """Deploy."""
    result = api.run(shop, again=True, listeners=[calls.heard])
    if result.exit_code != 0:
        raise SystemExit(f"the run ended with {result.exit_code}: {result.error}")
    return {"release": result.release}


def looked(shop: Any, calls: Calls) -> dict[str, Any]:
    """Look."""
    if not api.status(shop, listeners=[calls.heard]).ok:
        raise SystemExit("the status is not as it should be")
    return {}


def sorts(calls: Iterable[Call]) -> dict[str, dict[str, float]]:
    """Return the number and the seconds of *calls*, by what they are for."""
    found: dict[str, dict[str, float]] = {}
    for call in calls:
        one = found.setdefault(SORTS.get(call.name, "files"), {"calls": 0, "seconds": 0})
        one["calls"] += 1
        one["seconds"] += call.ended - call.began
    return found


if __name__ == "__main__":
    main()
