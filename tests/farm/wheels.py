"""Wheels for the Python of the hosts, which have no internet to get them from themselves."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from typing import TYPE_CHECKING, Final

from tests.farm.base import PYTHON, cache, locked
from tests.farm.shell import CommandFailedError, FarmError, call

if TYPE_CHECKING:
    from pathlib import Path

    from tests.farm.network import Outside

ENVIRONMENT: Final = dict(os.environ)
"""The environment from before any test changed HOME: pip's settings can lie there."""


def wheelhouse(*requirements: str, outside: Outside) -> Path:
    """
    Return a directory with the wheels of *requirements* and all that they need in turn.

    They are downloaded once and kept; *outside* is the network to download them by.
    """
    key = hashlib.sha256("\n".join([PYTHON, *sorted(requirements)]).encode()).hexdigest()[:12]
    house = cache() / "wheels" / key
    with locked(cache() / "wheels.lock"):
        if not house.exists():
            _download(house, requirements, outside)
    return house


def _download(house: Path, requirements: tuple[str, ...], outside: Outside) -> None:
    rough = house.with_suffix(".rough")
    shutil.rmtree(rough, ignore_errors=True)
    try:
        call(
            *(*outside.prefix, sys.executable, "-m", "pip", "download", "--quiet"),
            *("--only-binary=:all:", f"--python-version={PYTHON}", f"--dest={rough}"),
            *requirements,
            env=ENVIRONMENT,
            pass_fds=outside.fds,
            within=600,
        )
    except CommandFailedError as error:
        raise FarmError(f"cannot download {' '.join(requirements)}: {error.stderr}") from error
    rough.rename(house)
