"""Wait for a condition instead of for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def eventually(
    predicate: Callable[[], T],
    *,
    within: float = 10,
    every: float = 0.02,
    failing: type[Exception] | tuple[type[Exception], ...] = (),
    message: str = "",
) -> T:
    """
    Call *predicate* until its answer is true, and return that answer.

    An exception named in *failing* counts as "not yet".

    Raises:
        TimeoutError: the answer was never true *within* that many seconds.
    """
    end = time.monotonic() + within
    answer: object = None
    while True:
        try:
            found = predicate()
        except failing as error:
            answer = error
        else:
            if found:
                return found
            answer = found
        if time.monotonic() > end:
            what = message or getattr(predicate, "__name__", "condition")
            raise TimeoutError(f"{what}: not true within {within} s; last answer: {answer!r}")
        time.sleep(every)
