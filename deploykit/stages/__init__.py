"""The built-in stages, one a file."""

from __future__ import annotations

from deploykit.stages.install import Install
from deploykit.stages.local import Local
from deploykit.stages.prune import Prune
from deploykit.stages.shell import Shell
from deploykit.stages.transfer import Transfer

__all__ = ["Install", "Local", "Prune", "Shell", "Transfer"]
