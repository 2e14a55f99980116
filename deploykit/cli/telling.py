"""Chooses who listens: a live console, plain lines, a CI system's groups, JSON lines, a file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

import typer

from deploykit.cli.chosen import common
from deploykit.cli.options import LogFormat

if TYPE_CHECKING:
    from deploykit.engine.events import Event, Listener

__all__ = ["Only", "Teller", "only_json", "teller", "told", "wants_json"]


class Teller(Protocol):
    """A listener that is closed in the end."""

    def __call__(self, event: "Event") -> None:
        """Take one event."""

    def close(self) -> None:
        """Show what was held back, and let go of the terminal or file."""


class Only:
    """Lets only some events through to another teller."""

    def __init__(self, teller: Teller, names: set[str]) -> None:
        self._teller = teller
        self._names = names

    def __call__(self, event: "Event") -> None:
        """Pass *event* on, if it is one of those."""
        if event["event"] in self._names:
            self._teller(event)

    def close(self) -> None:
        """Close the other."""
        self._teller.close()


def wants_json(ctx: typer.Context, here: LogFormat | None) -> bool:
    """Return whether `--log-format json` was given, after the verb or before it."""
    return (here or common(ctx).log_format) is LogFormat.JSON


@contextmanager
def told(*tellers: Teller) -> Iterator[tuple["Listener", ...]]:
    """Hand out *tellers* as listeners, and close them in the end."""
    try:
        yield tellers
    finally:
        for teller in tellers:
            teller.close()


def teller(ctx: typer.Context, here: LogFormat | None, stream: TextIO) -> Teller:
    """
    Return who shows the events.

    Args:
        ctx: of the verb.
        here: `--log-format` after the verb.
        stream: where people read; JSON lines go to standard error always.
    """
    from deploykit.report.ci import Grouped, ci_system
    from deploykit.report.jsonlines import JsonLines
    from deploykit.report.plain import Plain
    from deploykit.report.style import is_terminal

    if wants_json(ctx, here):
        return JsonLines(sys.stderr)
    system = ci_system()
    if system:
        return Grouped(stream, system)
    if is_terminal(stream):
        from deploykit.report.console import LiveConsole

        return LiveConsole(stream)
    return Plain(stream)


def only_json(ctx: typer.Context, here: LogFormat | None) -> tuple[Teller, ...]:
    """Return who listens to a mere question: nobody, unless JSON lines were asked for."""
    from deploykit.report.jsonlines import JsonLines

    return (JsonLines(sys.stderr),) if wants_json(ctx, here) else ()
