"""Log groups and annotations, as GitHub Actions and GitLab CI draw them."""

from __future__ import annotations

import os
import time
from typing import Literal, TextIO

from deploykit.engine.events import Event
from deploykit.report.plain import Plain, Throttle
from deploykit.report.units import clock
from deploykit.report.words import line_of

__all__ = ["Grouped", "annotation", "ci_system"]

System = Literal["github", "gitlab"]
ENDED = {"run_confirmed", "run_rolled_back", "run_stuck", "rollback_started", "run_sealed"}
FAILED = {"stage_failed", "undo_failed", "run_stuck"}


def ci_system() -> System | None:
    """Return which CI system this process runs under, if it is one whose logs have groups."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    if os.environ.get("GITLAB_CI"):
        return "gitlab"
    return None


class Grouped(Plain):
    """Plain lines, one group a stage; failures become annotations where those exist."""

    def __init__(self, stream: TextIO, system: System) -> None:
        super().__init__(stream)
        self._throttle = Throttle()
        self._system = system
        self._group = ""
        self._number = 0

    def __call__(self, event: Event) -> None:
        """Write one event, in its stage's group."""
        line = line_of(event) if self._throttle.passes(event) else None
        if line is None:
            return
        self._enter("" if event["event"] in ENDED else line.stage)
        for part in line.placed.split("\n"):
            self.write(f"{clock(str(event.get('at', '')))} {_inert(part)}")
        if event["event"] in FAILED:
            self._annotate(line.text, " on ".join(x for x in (line.stage, line.host) if x))

    def close(self) -> None:
        """End the last group."""
        self._enter("")

    def _enter(self, group: str) -> None:
        """Be in *group* from now on; in none if it is empty."""
        if group == self._group:
            return
        if self._group:
            self.write(self._mark("end", self._group))
        if group:
            self._number += 1
            self.write(self._mark("start", group))
        self._group = group

    def _mark(self, which: Literal["start", "end"], group: str) -> str:
        if self._system == "github":
            return f"::group::{_data(group)}" if which == "start" else "::endgroup::"
        name = "".join(c if c.isalnum() and c.isascii() else "_" for c in group)
        title = group if which == "start" else ""
        section = f"section_{which}:{int(time.time())}:{name}_{self._number}"
        return f"\x1b[0K{section}\r\x1b[0K{title}"

    def _annotate(self, text: str, where: str) -> None:
        if self._system == "github":
            self.write(_error(text, where))


def annotation(text: str) -> str:
    """Return the line that makes *text* an annotation; nothing where there are none."""
    return f"{_error(text)}\n" if ci_system() == "github" else ""


def _error(text: str, where: str = "") -> str:
    title = f" title={_property(where)}" if where else ""
    return f"::error{title}::{_data(text)}"


def _inert(line: str) -> str:
    """
    Return *line* so that GitHub finds no command of its own in it.

    The time before it already hides `::…::`, which counts at a line's start only; the older
    `##[…]` counts anywhere.
    """
    return line.replace("##[", "## [")


def _data(text: str) -> str:
    """Escape *text* as GitHub's own toolkit does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
