"""The fixtures of the demo's tests."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploykit.demo.server import DemoServer

# Both come with the `demo` extra; an installation without it has nothing to test here.
collect_ignore_glob = [] if find_spec("asyncssh") and find_spec("supervisor") else ["test_*.py"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DemoServer]:
    """Run a demo's SSH server."""
    from deploykit.demo.server import DemoServer

    with DemoServer(tmp_path) as server:
        yield server
