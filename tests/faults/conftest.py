"""What of the faults is a part of every run of the tests, and what is asked for."""

from __future__ import annotations

import os

# Hours in whole, and samples of them not yet green throughout: asked for by naming how long they
# may take, `DEPLOYKIT_FAULTS_SECONDS=inf nox -s tests -- tests/faults`.
collect_ignore = (
    []
    if "DEPLOYKIT_FAULTS_SECONDS" in os.environ
    else ["test_operators.py", "test_undoers.py", "test_world.py"]
)
