"""Ctrl-C, SIGTERM and SIGHUP: the first turns the run back, the second leaves at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from deploykit.errors import DeploykitError, Interrupted, RollbackFailed

__all__ = ["Interrupts"]

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupts:
    """
    Notes the signals that ask a run to stop, while it is entered as a context.

    Outside the main thread no handler can be set, and nothing is noted.

    Args:
        environment: named in what is said when a second signal ends the process at once.
    """

    def __init__(self, environment: str = "ENV") -> None:
        self._environment = environment
        self._asked = threading.Event()
        self._going_back = False
        self._at_once = False
        self._old: dict[int, Any] = {}
        self.signal = ""

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Return whether the run was asked to stop and is not going back yet."""
        return self._asked.is_set() and not self._going_back

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """
        While this lasts, which is before anything is touched, the first signal ends the run there.

        Raises:
            Interrupted: somebody asked to stop.
        """
        self._at_once = True
        try:
            yield
        except DeploykitError:
            self.check()  # Ctrl-C reaches what we started, too: that is why it failed
            raise
        finally:
            self._at_once = False
        self.check()

    def check(self) -> None:
        """Raise `Interrupted` if the run was asked to stop."""
        if self.asked:
            raise Interrupted(f"interrupted by {self.signal}", state=self._state)

    def checked(self) -> bool:
        """Do what `check` does, and return false: for those who watch until something is true."""
        self.check()
        return False

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until somebody asks to stop."""
        if self._going_back:
            threading.Event().wait(seconds)
        else:
            self._asked.wait(seconds)
        self.check()

    def going_back(self) -> None:
        """From now on only a second signal counts: undoing is not to be cut short by the first."""
        self._going_back = True

    @property
    def _state(self) -> str:
        return "nothing was touched" if self._at_once else ""

    def _note(self, number: int, _frame: FrameType | None) -> None:
        first = not self._asked.is_set()
        name = signal.Signals(number).name
        self.signal = self.signal or name
        self._asked.set()
        if self._at_once:
            if first:
                self.check()
        elif not first and name == self.signal:
            # CI systems send another signal some seconds after the first: going on with the
            # rollback uses these seconds best. Only a person sends the same one twice.
            self._leave(name)

    def _leave(self, name: str) -> None:
        """
        End the process now, as the second signal asks: no clean-up, no waiting for threads.

        Nothing is lost by that: the journal on the hosts tells a resume or rollback what to do.
        """
        sys.stderr.write(
            f"\nleft at once after a second signal ({name})\n"
            "  the hosts are neither as before nor finished, and stay locked\n"
            f"  finish it: deploykit resume {self._environment}  "
            f"or undo it: deploykit rollback {self._environment}\n"
        )
        sys.stderr.flush()
        os._exit(RollbackFailed.exit_code)


Check = Callable[[], None]
