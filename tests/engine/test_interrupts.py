"""Signals: the first is noted or ends what has not begun, undoing is not cut short by it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deploykit.engine.interrupts import SIGNALS, Interrupts
from deploykit.errors import ConfigurationError, Interrupted


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted(number: signal.Signals) -> None:
    """It raises only where somebody checks, and the handlers are as before afterwards."""
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        interrupts.check()
        os.kill(os.getpid(), number)
        assert interrupts.asked
        with pytest.raises(Interrupted, match=f"interrupted by {number.name}") as asked:
            interrupts.check()
        assert asked.value.exit_code == 130
    assert signal.getsignal(number) is before


def test_going_back_is_not_cut_short() -> None:
    """A run that was asked to stop and goes back does so to its end."""
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        interrupts.going_back()
        assert not interrupts.asked
        interrupts.check()
        began = time.monotonic()
        interrupts.sleep(0.1)
        assert time.monotonic() - began >= 0.1


def test_a_sleep_ends_when_somebody_asks() -> None:
    """A watch of hours does not keep a person waiting."""
    with Interrupts() as interrupts:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(Interrupted):
            interrupts.sleep(60)


def test_what_has_not_begun_ends_at_once() -> None:
    """Before anything is touched the first signal raises where it comes, and says so."""
    with Interrupts() as interrupts:
        with pytest.raises(Interrupted) as asked:
            _signal_at_once(interrupts)
        assert "SIGHUP" in asked.value.what
    assert asked.value.state == "nothing was touched"


def _signal_at_once(interrupts: Interrupts) -> None:
    with interrupts.at_once():
        os.kill(os.getpid(), signal.SIGHUP)
        pytest.fail("it went on")


def test_a_build_that_dies_of_the_same_ctrl_c_is_an_interruption() -> None:
    """A terminal's Ctrl-C reaches the build first; what counts is who asked."""
    interrupts = Interrupts()
    interrupts._asked.set()
    with pytest.raises(Interrupted), interrupts.at_once():
        raise ConfigurationError("the build failed")
    with pytest.raises(ConfigurationError, match="the build failed"), Interrupts().at_once():
        raise ConfigurationError("the build failed")


@pytest.mark.parametrize(
    ("second", "code", "said"), [("SIGINT", 3, ""), ("SIGTERM", 0, "it went on\n")]
)
def test_the_same_signal_again_leaves_at_once(second: str, code: int, said: str) -> None:
    """Whatever threads still do: exit code 3, and the commands to type; another one does not."""
    script = (
        "import os, signal, threading, time\n"
        "from deploykit.engine.interrupts import Interrupts\n"
        "with Interrupts('production'):\n"
        "    threading.Thread(target=time.sleep, args=(3,)).start()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        f"    os.kill(os.getpid(), signal.{second})\n"
        "    print('it went on')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, said)
    assert ("deploykit resume production" in done.stderr) is (code == 3)


def test_another_thread_sets_no_handlers() -> None:
    """A program that deploys from a thread keeps its own signals."""
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def enter() -> None:
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
