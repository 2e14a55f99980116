"""The tutorial, followed by the letter on a real host."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS
from tests.docs.reader import Reader, log_in
from tests.farm import Host
from tests.farm.base import base_tree, cache, locked

REQUIREMENTS = "alembic>=1.13"
# The host has no way to the package index, and making the same virtual environment for each of the
# tutorial's releases takes most of a minute: `python3 -m venv` gives a copy of one made before.
PYTHON3 = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then cp -a /opt/venv "$3"; else exec /usr/bin/python3 "$@"; fi
"""


@pytest.fixture
def server(fresh_host: Host, wheelhouse: Callable[..., Path]) -> Host:
    """Return a host on which pip finds what the tutorial requires."""
    with locked(cache() / "venvs.lock"):
        _give_venv(fresh_host, wheelhouse(REQUIREMENTS))
    fresh_host.write("/usr/local/bin/python3", PYTHON3, mode=0o755)
    return fresh_host


def _give_venv(host: Host, wheels: Path) -> None:
    """Put a virtual environment with all requirements at /opt/venv."""
    tree, held = base_tree()
    os.close(held)  # the host itself keeps its tree
    name = hashlib.sha256(f"{tree} {wheels}".encode()).hexdigest()[:12]
    kept = cache() / "venvs" / f"{name}.tar"
    if kept.exists():
        host.run("tar", "-xf", "-", "-C", "/opt", input=kept.read_bytes())
        return
    host.copy(wheels, "/opt/wheels")
    host.root(
        """
        python3 -m venv /opt/venv
        /opt/venv/bin/pip install -q --no-index --find-links /opt/wheels alembic
        """
    )
    packed = base64.b64decode(host.root("tar -C /opt -cf - venv | base64").stdout)
    kept.parent.mkdir(exist_ok=True)
    rough = kept.with_suffix(".rough")
    rough.write_bytes(packed)
    rough.rename(kept)


def test_every_block_does_what_the_page_says(server: Host, home: Path, tmp_path: Path) -> None:
    """Each file is written, each command typed, and each answer is the one on the page."""
    log_in(home, server)
    reader = Reader(server, tmp_path / "notes", tmp_path / "bin")
    wrong = reader.follow(DOCS / "tutorial.md")
    assert not wrong, "\n\n".join(wrong)
