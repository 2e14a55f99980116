"""Prints answers: lines for people, or exactly one JSON document for programs."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from deploykit.errors import DeploykitError
from deploykit.report.emit import emit
from deploykit.report.failure import failure_document

__all__ = ["Answer", "answering", "say"]


class Answer:
    """Takes the one document that a verb answers with."""

    def __init__(self) -> None:
        self.document: Any = None

    def give(self, document: Any) -> None:
        """Answer *document*."""
        self.document = document


@contextmanager
def answering(as_json: bool) -> Iterator[Answer]:
    """
    Keep standard output for the answer, if it is to be JSON.

    Whatever else is printed meanwhile goes to standard error. A verb that fails answers with
    `{"error": {"kind", "what", "state", "then", "exit_code"}}`.
    """
    answer = Answer()
    if not as_json:
        yield answer
        return
    out = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield answer
    except DeploykitError as error:
        answer.document = failure_document(error)
        raise
    finally:
        if answer.document is not None:
            emit(out, json.dumps(answer.document, ensure_ascii=False, default=str) + "\n")


def say(*lines: str) -> None:
    """Print *lines* to standard output, as it is now."""
    emit(sys.stdout, "".join(f"{line}\n" for line in lines))
