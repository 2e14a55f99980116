"""Processes that deploykit starts on the operator's machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

__all__ = ["end_group"]


def end_group(process: subprocess.Popen[Any], *, at_once: bool = False) -> None:
    """
    End a process that leads a group of its own, with all its children.

    Args:
        process: started with `process_group=0` or `start_new_session=True`.
        at_once: do not let it clean up.
    """
    if sys.platform == "win32":  # no groups there: at least the process itself
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL if at_once else signal.SIGTERM)
