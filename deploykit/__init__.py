"""
Deploys you can undo: declare a pipeline in Python, run it over SSH, and when anything goes wrong,
code, schema, data and services come back together.
"""

from __future__ import annotations

from deploykit._version import __version__
from deploykit.environment import Environment
from deploykit.errors import DeploykitError
from deploykit.hosts import Host
from deploykit.pipeline import Pipeline
from deploykit.secrets import Secret

__all__ = ["DeploykitError", "Environment", "Host", "Pipeline", "Secret", "__version__"]
