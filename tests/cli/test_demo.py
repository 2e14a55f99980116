"""`deploykit demo` where what it needs is not installed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from tests.cli.conftest import Program


def test_a_missing_extra_is_named(deploykit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asyncssh the next command is the one that installs it."""
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    ended = deploykit("demo")
    assert ended.code == 2
    assert "pip install 'deploykit-ssh[demo]'" in ended.err
