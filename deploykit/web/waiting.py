"""Asking for a page until it is right, or until time is up."""

from __future__ import annotations

from collections.abc import Callable

from deploykit.errors import CheckFailed
from deploykit.hiding import hidden
from deploykit.stage import Acting
from deploykit.web.answer import Answer, Expected

__all__ = ["until_right"]


class _NotYetError(Exception):
    """The answer is wrong, and may become right: nothing came, or not what was expected."""

    def __init__(self, complaint: str, answer: Answer) -> None:
        super().__init__(complaint)
        self.answer = answer


def until_right(
    ctx: Acting, what: str, ask: Callable[[], Answer], expected: Expected, within: float
) -> None:
    """
    Ask until the answer is what is expected.

    Args:
        ctx: what the stage was given.
        what: the page, for messages.
        ask: fetches it once.
        expected: a right answer.
        within: seconds after which no further attempt begins.

    Raises:
        CheckFailed: time is up, or the answer is such that it cannot become right.
    """
    import tenacity

    def attempt() -> None:
        answer = ask()
        complaint = expected.complaint(answer)
        if complaint and answer.final:
            raise _check_failed(ctx, what, complaint, answer)
        if complaint:
            raise _NotYetError(complaint, answer)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_NotYetError),
        stop=tenacity.stop_after_delay(within),
        wait=tenacity.wait_exponential(multiplier=0.1, max=2),
        sleep=ctx.sleep,
        reraise=True,
    )
    try:
        retrying(attempt)
    except _NotYetError as error:
        took = f" for {within:g} s" if within else ""
        raise _check_failed(ctx, what, f"{error}{took}", error.answer) from None


def _check_failed(ctx: Acting, what: str, complaint: str, answer: Answer) -> CheckFailed:
    """Return the error; a page may show secrets, such as a debug page's settings."""
    return CheckFailed(
        hidden(ctx, f"{what}: {complaint}"),
        state=hidden(ctx, f"what came last: {answer.summary}"),
    )
