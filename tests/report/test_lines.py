"""Events as lines: safe to show, in words, with their time, in groups under CI."""

from __future__ import annotations

import io
import json

import pytest

from deploykit.report.ci import Grouped
from deploykit.report.clean import visible
from deploykit.report.jsonlines import JsonLines
from deploykit.report.plain import Plain
from deploykit.report.units import clock, duration, size
from deploykit.report.words import WORDS, line_of

AT = "2026-11-04T10:15:12Z"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text\twith a tab", "plain text\twith a tab"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;AAAA", ""),
        ("10 %\r50 %\r100 %\r\n", "100 %"),
        ("a\x08\x07\x00b\x9b31mc", "ab31mc"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("\x1bPq sixel \x1b\\rest", "rest"),
        ("ünïcödé ✓", "ünïcödé ✓"),
    ],
)
def test_visible_text_steers_no_terminal(text: str, shown: str) -> None:
    """Escape sequences and control characters are taken out, and nothing else."""
    assert visible(text) == shown


def test_units() -> None:
    """Sizes and durations have the unit that people would choose."""
    assert [size(n) for n in (0, 999, 1000, 12_345_678, 5e13)] == [
        *("0 B", "999 B", "1.0 kB", "12.3 MB", "50.0 TB"),
    ]
    assert [duration(s) for s in (0.04, 9.96, 59.4, 61, 3725)] == [
        *("0.0 s", "10.0 s", "59 s", "1 min 1 s", "1 h 2 min"),
    ]
    assert clock("not a time") == "not a time"


@pytest.mark.parametrize("name", sorted(WORDS))
def test_every_known_event_has_words_even_without_keys(name: str) -> None:
    """An event with few keys, as from a newer or an older engine, is told all the same."""
    line = line_of({"event": name, "at": AT, "environment": "production"})
    assert line is not None
    assert line.placed


def test_an_unknown_event_is_told_by_its_name_and_keys() -> None:
    """A stage's own event needs no entry here."""
    line = line_of({"event": "cache_warmed", "stage": "warm", "host": "a", "pages": 7})
    assert line is not None
    assert line.text == "cache warmed pages=7"
    assert "warm" in line.placed


def test_upload_says_bytes_rate_and_time_left() -> None:
    """Progress has bytes, files, rate and the time that is left."""
    event = {"event": "upload_progress", "done": 25e6, "total": 100e6, "rate": 5e6, "files": 2}
    line = line_of({**event, "of": 9})
    assert line is not None
    assert line.text == "25.0 MB of 100.0 MB, file 2 of 9, 5.0 MB/s, 15 s left"
    nothing = line_of({**event, "done": 0, "total": 0, "files": 0, "of": 0})
    assert nothing is not None
    assert nothing.text == "nothing to send: the host has every file"


def test_plain_lines() -> None:
    """One line an event, with its time; an error's further lines are indented below it."""
    stream = io.StringIO()
    teller = Plain(stream)
    teller({"event": "stage_applied", "at": AT, "stage": "migrate", "host": "db", "took": 1.84})
    teller({"event": "stage_failed", "at": AT, "stage": "x", "host": "db", "error": "a\n  | b"})
    teller({"event": "run_ended", "at": AT})
    first, second, third = stream.getvalue().splitlines()
    assert first.split()[1:] == ["migrate", "db", "done", "in", "1.8", "s"]
    assert second.endswith("FAILED: a")
    assert third.strip() == "| b"


def test_progress_is_not_a_line_for_every_file() -> None:
    """Of many progress events away from a terminal, most are left out, the last one is not."""
    stream = io.StringIO()
    teller = Plain(stream)
    for done in range(1001):
        teller({"event": "upload_progress", "at": AT, "host": "a", "done": done, "total": 1000})
    assert len(stream.getvalue().splitlines()) == 1
    assert "1.0 kB of 1.0 kB" in stream.getvalue()


def test_json_lines_are_whole_events() -> None:
    """A program gets each event as it is, also values that JSON does not know."""
    stream = io.StringIO()
    JsonLines(stream)({"event": "x", "path": io.BytesIO, "text": "ü\n"})
    assert json.loads(stream.getvalue())["text"] == "ü\n"
    assert stream.getvalue().count("\n") == 1


def events_of_a_failure() -> list[dict[str, object]]:
    """Return what a run tells whose second stage fails."""
    return [
        {"event": "stage_started", "at": AT, "stage": "transfer", "host": "a"},
        {"event": "stage_applied", "at": AT, "stage": "transfer", "host": "a", "took": 1},
        {"event": "command_output", "at": AT, "stage": "in:s,t", "host": "a", "text": "::error::x"},
        {"event": "command_output", "at": AT, "stage": "in:s,t", "host": "a", "text": "##[add]y"},
        {"event": "stage_failed", "at": AT, "stage": "in:s,t", "host": "a", "error": "100%\nno"},
        {"event": "rollback_started", "at": AT, "reason": "failed"},
    ]


def test_github_groups_and_annotations() -> None:
    """Each stage is a group, a failure is an annotation, and a host's output gives no orders."""
    stream = io.StringIO()
    teller = Grouped(stream, "github")
    for event in events_of_a_failure():
        teller(event)
    teller.close()
    lines = stream.getvalue().splitlines()
    orders = [line for line in lines if line.startswith("::")]
    assert orders == [
        "::group::transfer",
        "::endgroup::",
        "::group::in:s,t",
        "::error title=in%3As%2Ct on a::FAILED: 100%25%0Ano",
        "::endgroup::",
    ]
    assert "##[" not in stream.getvalue()


def test_gitlab_sections_open_and_close_under_one_name() -> None:
    """Each stage is a section, closed under the name that opened it."""
    stream = io.StringIO()
    teller = Grouped(stream, "gitlab")
    for event in events_of_a_failure():
        teller(event)
    teller.close()
    marks = [line for line in stream.getvalue().splitlines() if "section_" in line]
    names = [mark.split(":")[2].split("\r")[0] for mark in marks]
    assert names == ["transfer_1", "transfer_1", "in_s_t_2", "in_s_t_2"]
    assert all(mark.startswith("\x1b[0Ksection_") for mark in marks)
