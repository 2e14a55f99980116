"""What records mean: the state of a run, as its hosts tell it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.engine.journal import History, Record, parse
from deploykit.errors import JournalError

RECORDS = st.lists(
    st.fixed_dictionaries({"kind": st.sampled_from(["plan", "began", "ended"]), "text": st.text()}),
    max_size=6,
)


def run(*hosts: str, action: str = "deploy", plans: int = 0) -> Record:
    """Return an opening record."""
    return {"kind": "run", "hosts": list(hosts), "action": action, "plans": plans}


def kinds(*names: str) -> list[Record]:
    """Return records that are nothing but their kind."""
    return [{"kind": name, "stage": "s"} for name in names]


def history(**hosts: list[Record]) -> History:
    """Return the history of a run with these records a host."""
    return History("r", {host: tuple(records) for host, records in hosts.items()})


@given(RECORDS, st.data())
def test_a_torn_line_anywhere_costs_that_line_only(
    records: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Every whole line is read, whatever it contains, and nothing is made of half a line."""
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    torn = {
        at: data.draw(st.integers(0, len(line) - 1))
        for at, line in enumerate(lines)
        if data.draw(st.booleans())
    }
    text = "".join(line[: torn.get(at, len(line))] + "\n" for at, line in enumerate(lines))
    assert parse(text) == [record for at, record in enumerate(records) if at not in torn]


@pytest.mark.parametrize("text", ["", "\n\n", "12\n", '"x"\n', "[1]\n", "null\n", "{\n}\n"])
def test_what_is_no_record_is_skipped(text: str) -> None:
    """Half a number is a number, and still no record."""
    assert parse(text) == []


@pytest.mark.parametrize(
    ("records", "state"),
    [
        ([], "empty"),
        ([run("a")], "planned"),
        ([run("a"), *kinds("plan")], "planned"),
        ([run("a"), *kinds("began")], "forward"),
        ([run("a"), *kinds("applied")], "forward"),
        ([run("a"), *kinds("applied", "confirmed")], "confirmed"),
        ([run("a"), *kinds("applied", "confirmed", "sealed")], "sealed"),
        ([run("a"), *kinds("applied", "back")], "back"),
        ([run("a"), *kinds("applied", "confirmed", "back")], "back"),
        ([run("a"), *kinds("back", "stuck")], "stuck"),
        ([run("a"), *kinds("back", "stuck", "back")], "back"),
        ([run("a"), *kinds("back", "stuck", "back", "stuck")], "stuck"),
        ([run("a"), *kinds("back", "undone", "rolled_back")], "rolled_back"),
        ([run("a"), *kinds("confirmed", "sealed", "back", "rolled_back")], "rolled_back"),
        ([run("a", action="rollback"), *kinds("back", "stuck")], "stuck"),
        ([run("a", action="rollback"), *kinds("back", "stuck", "confirmed")], "confirmed"),
    ],
)
def test_a_run_s_state_is_what_its_records_say(records: list[Record], state: str) -> None:
    """The states of the design, in every order that can happen on one host."""
    assert history(a=records).state == state


def test_back_on_any_host_wins() -> None:
    """A run that is confirmed here and goes back there goes back."""
    here, there = [run("a", "b"), *kinds("confirmed")], [run("a", "b"), *kinds("back")]
    assert history(a=here, b=there).state == "back"
    assert history(a=there, b=here).state == "back"


def test_confirmed_means_on_every_host() -> None:
    """One host that has not heard of it keeps the run open."""
    here, there = [run("a", "b"), *kinds("applied", "confirmed")], [run("a", "b")]
    assert history(a=here, b=there).state == "forward"
    assert history(a=here, b=[]).state == "forward"


def test_a_host_that_was_retired_keeps_no_old_run_open() -> None:
    """A host that `deploy.py` no longer names is not waited for."""
    assert history(a=[run("a", "b"), *kinds("applied", "confirmed")]).state == "confirmed"


def test_a_run_is_written_ahead_only_with_all_plans_on_all_hosts() -> None:
    """Anything less was cut short before the first effect, and must not go forward."""
    whole = [run("a", "b", plans=2), *kinds("plan", "plan")]
    assert history(a=whole, b=whole).written_ahead
    assert not history(a=whole, b=[]).written_ahead
    assert not history(a=whole, b=[run("a", "b", plans=2), *kinds("plan")]).written_ahead
    assert not history(a=[]).written_ahead


def test_only_what_may_have_had_an_effect_is_touched() -> None:
    """A plan alone is none; an undo's commands are no effect of apply."""
    records: list[Record] = [
        run("a"),
        {"kind": "plan", "stage": "one"},
        {"kind": "began", "stage": "two", "direction": "apply", "id": "x"},
        {"kind": "applied", "stage": "three", "direction": "apply"},
        {"kind": "began", "stage": "four", "direction": "undo", "id": "y"},
    ]
    assert history(a=records).touched() == {("two", "a"), ("three", "a")}


def test_a_command_runs_until_its_end_is_recorded() -> None:
    """On each host for itself; files have no id and never run."""
    began: Record = {"kind": "began", "stage": "s", "id": "x"}
    ended: Record = {"kind": "ended", "stage": "s", "id": "x"}
    files: Record = {"kind": "began", "stage": "s", "key": "files"}
    found = history(a=[run("a", "b"), began, files, ended], b=[run("a", "b"), began])
    assert found.running() == [("b", "x")]


def test_each_turn_back_is_an_attempt() -> None:
    """The host that has turned back most often says which it is."""
    once, twice = kinds("back"), kinds("back", "stuck", "back")
    assert history(a=once, b=twice).attempt() == 2
    assert history(a=[]).attempt() == 1
    undone: list[Record] = [{"kind": "undone", "stage": "s", "attempt": 1}]
    assert history(a=undone).done("undone", 1) == {("s", "a")}
    assert history(a=undone).done("undone", 2) == set()


def test_a_journal_without_beginning_rebuilds_nothing() -> None:
    """It says which run, and is no traceback."""
    with pytest.raises(JournalError, match="run r has no opening record"):
        history(a=[]).stages()
