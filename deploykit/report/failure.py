"""An error as three lines: what failed and where, the state now, the next command to type."""

from __future__ import annotations

import traceback
from typing import Any

from deploykit.errors import DeploykitError

__all__ = ["explain", "failure", "failure_document"]


def explain(error: BaseException) -> str:
    """Return *error* as lines; one that nobody foresaw comes with where it happened."""
    if isinstance(error, DeploykitError):
        return str(error)
    return f"{_unforeseen(error)}\n  a mistake in deploykit, or in a stage of your own"


def failure(error: BaseException | None, exit_code: int) -> dict[str, Any] | None:
    """Return *error* for programs: `{"kind", "what", "state", "then", "exit_code"}`."""
    if error is None:
        return None
    what, state, then = (
        (error.what, error.state, error.then)
        if isinstance(error, DeploykitError)
        else (_unforeseen(error), "", "")
    )
    return {
        "kind": type(error).__name__,
        "what": what,
        "state": state,
        "then": then,
        "exit_code": exit_code,
    }


def failure_document(error: DeploykitError) -> dict[str, Any]:
    """Return what a verb answers that failed before it had an answer."""
    return {"error": failure(error, error.exit_code)}


def _unforeseen(error: BaseException) -> str:
    trace = traceback.extract_tb(error.__traceback__)
    place = f" ({trace[-1].filename}:{trace[-1].lineno})" if trace else ""
    return f"unexpected {type(error).__name__}: {error}{place}"
