"""Asks a person; where there is none, the answer is the safe one."""

import sys
from collections.abc import Callable
from typing import TypeVar

from deploykit.errors import ConfigurationError, StillAtWork

__all__ = ["asked_first", "may_ask", "typed"]

T = TypeVar("T")


def may_ask() -> bool:
    """Return whether somebody sits there: a prompt must never block a job."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


def typed(question: str, *, otherwise: str) -> str:
    """
    Ask *question* on standard error and return what was typed.

    Args:
        question: ends in a space.
        otherwise: what to type instead where nobody can be asked.

    Raises:
        ConfigurationError: standard input is no terminal, or was closed.
    """
    if may_ask():
        sys.stderr.write(question)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if line:
            return line.strip()
    raise ConfigurationError(
        "this needs an answer, and standard input is not a terminal",
        state="nothing was touched",
        then=otherwise,
    )


def asked_first(takeover: bool, deed: Callable[[bool], T]) -> T:
    """
    Do *deed*; where a controller seems to be at work, ask a person before taking its run over.

    Args:
        takeover: it was said on the command line already.
        deed: is given whether to take over.

    Raises:
        StillAtWork: nobody can be asked, or the answer was no.
    """
    try:
        return deed(takeover)
    except StillAtWork as error:
        if not may_ask():
            raise
        sys.stderr.write(f"{error.what}\n")
        if typed("take it over? type yes: ", otherwise=error.then) != "yes":
            raise
    return deed(True)
