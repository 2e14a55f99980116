"""
What is on the disk before anything relies on it: seen in a trace of system calls.

A kill keeps what the kernel holds in memory, so that no kill could show this; a power cut would.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploykit.stage import Acting, Planning
from tests.faults.trace import Call, traced

REPOSITORY = Path(__file__).parents[2]
DEPLOY = """
import sys
from pathlib import Path
from deploykit import Environment, Host, Pipeline
from deploykit.stages import Publish, Shell, Transfer
from tests.faults.test_flush_order import Put
stages = [Transfer("app"), Put(), Shell("mark", do="echo done"), Publish()]
pipeline = Pipeline(app="shop", root=sys.argv[1], stages=stages)
project = Path(sys.argv[2])
shop = Environment(pipeline, hosts=[Host("local:", name="one")], name="shop", project=project)
result = shop.run()
assert result.exit_code == 0, result
"""


@dataclass(frozen=True)
class PutPlan:
    """Nothing to plan."""


@dataclass(frozen=True)
class Put:
    """A stage that writes one small file."""

    name: str = "put"

    def plan(self, ctx: Planning) -> PutPlan:
        """See `Stage`."""
        del ctx
        return PutPlan()

    def apply(self, ctx: Acting, plan: PutPlan) -> None:
        """See `Stage`."""
        del plan
        ctx.host.put(b"text", f"{ctx.layout.shared}/text")

    def undo(self, ctx: Acting, plan: PutPlan) -> None:
        """See `Stage`."""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """Return what a whole run on this machine did."""
    folder = tmp_path_factory.mktemp("trace")
    (folder / "project" / "app").mkdir(parents=True)
    (folder / "project" / "app" / "main.py").write_text("print('hello')\n")
    program = [sys.executable, "-c", DEPLOY, str(folder / "root"), str(folder / "project")]
    return traced(program, folder / "trace", REPOSITORY)


def test_a_record_is_on_the_disk_before_anybody_is_told(trace: list[Call]) -> None:
    """Every write to a journal or the ledger is flushed before the runner's next answer."""
    files = {call.path for call in trace if re.search(r"(journal|releases)\.jsonl$", call.path)}
    assert len(files) == 2
    for file in files:
        writes = _all(trace, "write", file)
        assert writes
        assert all(_next(trace, at, "flush", file) < _next(trace, at, "answer") for at in writes)


def test_a_new_journal_is_in_its_folder_before_anybody_is_told(trace: list[Call]) -> None:
    """The name of a file is on the disk only when its folder is."""
    first = next(at for at, call in enumerate(trace) if _is(call, "write", r"/journal\.jsonl$"))
    folder = str(Path(trace[first].path).parent)
    assert _next(trace, first, "flush", folder) < _next(trace, first, "answer")


def test_a_receipt_begins_on_the_disk_before_its_command(trace: list[Call]) -> None:
    """What the command prints comes after its `began` is flushed."""
    printed = next(at for at, call in enumerate(trace) if _is(call, "write", r"mark\..*\.out$"))
    journal = next(call.path for call in trace if _is(call, "write", r"/journal\.jsonl$"))
    began = [at for at in _all(trace, "write", journal) if at < printed][-1]
    assert began < _next(trace, began, "flush", journal) < printed


def test_an_epoch_is_flushed_renamed_and_its_folder_flushed(trace: list[Call]) -> None:
    """A host that forgot an epoch would let an older controller go on."""
    _renamed_safely(trace, r"/epoch\.new$", r"/\.deploykit/epoch$")


def test_a_lock_is_whole_before_it_has_its_name(trace: list[Call]) -> None:
    """Owner and run are flushed before the one rename, and the folder after it."""
    at = _renamed_safely(trace, r"/\.owner\.\d+$", r"/\.deploykit/lock$")
    owner = trace[at].path
    written = {c.path for c in trace[:at] if c.kind == "write" and c.path.startswith(f"{owner}/")}
    assert {Path(path).name for path in written} >= {"owner.json", "run"}
    for path in written:
        last = [number for number in _all(trace, "write", path) if number < at][-1]
        assert _next(trace, last, "flush", path) < at, path


def test_an_uploaded_file_is_flushed_before_it_has_its_name(trace: list[Call]) -> None:
    """As everything is that a stage puts on a host."""
    _renamed_safely(trace, r"/runs/.*\.part$", r"/shared/text$")


def test_a_manifest_is_flushed_before_it_has_its_name(trace: list[Call]) -> None:
    """It says what a release is."""
    _renamed_safely(trace, r"/releases/\..*\.part\.\d+\.json$", r"/manifests/.*\.json$")


def test_our_own_script_is_flushed_before_it_has_its_name(trace: list[Call]) -> None:
    """Its name is that of its content, and nobody looks at it again."""
    _renamed_safely(trace, r"/runner-\w+\.sh\.\d+$", r"/runner-\w+\.sh$")


def test_a_release_is_flushed_before_it_has_its_name(trace: list[Call]) -> None:
    """Whole under its final name, or not there at all."""
    _renamed_safely(trace, r"/releases/\..*\.part\.\d+$", r"/releases/[^./]*$")


def test_a_link_is_flushed_after_it_has_moved(trace: list[Call]) -> None:
    """By one rename, and its folder after it."""
    at = next(at for at, call in enumerate(trace) if _names(call, "current"))
    assert _next(trace, at, "flush", str(Path(trace[at].to).parent)) < len(trace)


def _renamed_safely(trace: list[Call], old: str, new: str) -> int:
    """Return where *old* was renamed to *new*, having seen a flush before and one after it."""
    at = next(
        number
        for number, call in enumerate(trace)
        if _is(call, "rename", old) and re.search(new, call.to)
    )
    own = trace[at].path
    writes = [
        number
        for number, call in enumerate(trace[:at])
        if call.kind == "write" and f"{call.path}/".startswith(f"{own}/")
    ]
    flushes = [
        number
        for number, call in enumerate(trace[:at])
        if call.kind == "flush" and (call.path == "*" or f"{call.path}/".startswith(f"{own}/"))
    ]
    assert writes
    assert max(writes) < max(flushes) < at
    after = _next(trace, at, "flush", str(Path(trace[at].to).parent))
    assert at < after <= _next(trace, at, "answer")
    return at


def _all(trace: list[Call], kind: str, path: str) -> list[int]:
    """Return where *path* was written, or flushed."""
    return [at for at, call in enumerate(trace) if (call.kind, call.path) == (kind, path)]


def _next(trace: list[Call], after: int, kind: str, path: str = "") -> int:
    """Return where that comes next *after*; the end of the trace if it does not."""
    found = (
        at
        for at, call in enumerate(trace[after + 1 :], after + 1)
        if call.kind == kind and (not path or call.path in (path, "*"))
    )
    return next(found, len(trace))


def _is(call: Call, kind: str, path: str) -> bool:
    return call.kind == kind and re.search(path, call.path) is not None


def _names(call: Call, name: str) -> bool:
    return call.kind == "rename" and call.to.endswith(f"/{name}")
