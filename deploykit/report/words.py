"""Each event of a run as one line for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from deploykit.engine.events import Event
from deploykit.report.clean import visible
from deploykit.report.units import duration, size

__all__ = ["Line", "Tone", "line_of"]

Tone = Literal["plain", "good", "bad", "warning", "faint"]
UNSAID = {"run_ended"}  # the end table says it better
BOUND = {"event", "at", "run", "environment", "stage", "host", "release", "app", "level"}


@dataclass(frozen=True)
class Line:
    """
    One line of a log.

    Args:
        text: what happened; more lines than one where an error has them.
        tone: how it is coloured where there are colours.
        stage: which stage it belongs to, if any.
        host: which host, if any.
    """

    text: str
    tone: Tone = "plain"
    stage: str = ""
    host: str = ""

    @property
    def placed(self) -> str:
        """Return the text after its stage and host, in columns."""
        if not self.stage and not self.host:
            return self.text
        place = f"{self.stage:<12} {self.host:<12}" if self.host else f"{self.stage:<12}"
        return f"{place} {self.text}"


def line_of(event: Event) -> Line | None:
    """
    Return what *event* says; None if that is for programs only.

    An event that is not known here is told by its name and keys.
    """
    if event["event"] in UNSAID:
        return None
    say = WORDS.get(event["event"], _unknown)
    tone, text = say(event)
    lines = [visible(line) for line in text.splitlines()] or [""]
    return Line("\n".join(lines), tone, str(event.get("stage", "")), str(event.get("host", "")))


Said = tuple[Tone, str]


def _run_started(event: Event) -> Said:
    hosts = ", ".join(map(str, event.get("hosts", ())))
    release = f": release {event['release']}" if event.get("release") else ""
    by = f" by {event['by']}" if event.get("by") else ""
    return "plain", f"run {event.get('run', '')} in {event['environment']}{release} on {hosts}{by}"


def _took(event: Event, word: str) -> str:
    seconds = event.get("took", event.get("seconds"))
    return word if seconds is None else f"{word} in {duration(float(seconds))}"


def _command_ended(event: Event) -> Said:
    code, took = event.get("exit_code", 0), duration(float(event.get("seconds", 0)))
    if code == 0:
        return "faint", f"{event.get('key', 'command')}: done in {took}"
    return "bad", f"{event.get('key', 'command')}: exit {code} after {took}"


def _upload(event: Event) -> Said:
    if event.get("of") == 0:
        return "plain", "nothing to send: the host has every file"
    done, total = float(event.get("done", 0)), float(event.get("total", 0))
    rate = float(event.get("rate") or 0)
    text = f"{size(done)} of {size(total)}"
    if event.get("of"):
        text += f", file {event.get('files', 0)} of {event['of']}"
    if rate:
        text += f", {size(rate)}/s"
        if total > done:
            text += f", {duration((total - done) / rate)} left"
    return "plain", text


def _connected(event: Event) -> Said:
    return "faint", _took(event, "connected")


def _lock_waiting(event: Event) -> Said:
    holder = event.get("reason") or event.get("owner") or "somebody else"
    return "warning", f"waiting for the lock: {holder}"


def _differs(event: Event) -> Said:
    lines = [str(line) for line in event.get("differences", ())]
    first = "deploy.py has been edited since; the run goes on as it was declared:"
    return "warning", "\n  ".join([first, *lines])


def _altered(event: Event) -> Said:
    files = [str(file) for file in event.get("files", ())]
    more = int(event.get("count", 0)) - len(files)
    named = ", ".join(files) + (f" and {more} more" if more > 0 else "")
    return "warning", f"is no longer what was deployed as {event.get('release')}: {named}"


def _confirmed_failed(event: Event) -> Said:
    return "warning", f"failed after the run was confirmed: {event.get('error', '')}"


def _rolled_back(event: Event) -> Said:
    return "warning", _after("rolled back: the hosts are as before", event, "reason")


def _stuck(event: Event) -> Said:
    return "bad", _after("STUCK: something could not be undone", event, "error")


def _others(event: Event) -> str:
    return " ".join(f"{key}={value}" for key, value in event.items() if key not in BOUND)


def _after(text: str, event: Event, key: str) -> str:
    return f"{text}: {event[key]}" if event.get(key) else text


def _unknown(event: Event) -> Said:
    return "plain", f"{event['event'].replace('_', ' ')} {_others(event)}".strip()


def _fixed(tone: Tone, text: str, key: str = "") -> Callable[[Event], Said]:
    return lambda event: (tone, _after(text, event, key) if key else text)


def _timed(tone: Tone, word: str) -> Callable[[Event], Said]:
    return lambda event: (tone, _took(event, word))


def _text(event: Event) -> Said:
    return "faint", f"| {_line(event.get('text', ''))}"


def _line(text: Any) -> str:
    return visible(str(text))


WORDS: dict[str, Callable[[Event], Said]] = {
    "run_started": _run_started,
    "connected": _connected,
    "link_lost": _fixed("warning", "link lost, making it again", "error"),
    "link_restored": _fixed("warning", "the link is back"),
    "lock_waiting": _lock_waiting,
    "lock_not_freed": _fixed("warning", "the lock could not be freed", "error"),
    "run_taken_over": _fixed("warning", "taken over from its controller", "state"),
    "declaration_differs": _differs,
    "release_altered": _altered,
    "stop_failed": _fixed("bad", "a command could not be stopped", "error"),
    "local_output": _text,
    "stage_planned": _fixed("faint", "planned"),
    "stage_started": _fixed("plain", "started"),
    "stage_applied": _timed("good", "done"),
    "stage_failed": _fixed("bad", "FAILED", "error"),
    "command_output": _text,
    "command_ended": _command_ended,
    "upload_progress": _upload,
    "guardian_armed": _fixed("faint", "guardian armed", "how"),
    "guardian_missing": _fixed("warning", "no guardian could be started; going on without"),
    "guardian_fired": _fixed("bad", "a guardian took us for gone", "reason"),
    "rollback_started": _fixed("warning", "going back", "reason"),
    "stage_undone": _timed("warning", "undone"),
    "undo_failed": _fixed("bad", "UNDO FAILED", "error"),
    "run_confirmed": _fixed("good", "confirmed: every check passed"),
    "run_sealed": _fixed("plain", "sealed: the means of undoing without loss have been let go"),
    "run_rolled_back": _rolled_back,
    "run_stuck": _stuck,
    "after_confirmed_failed": _confirmed_failed,
    "notified": _fixed("faint", "notified", "to"),
    "notify_failed": _fixed("warning", "could not notify", "error"),
}
