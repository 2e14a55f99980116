"""The built-in stages, one a file."""

from __future__ import annotations

from deploykit.stages.backup import Backup
from deploykit.stages.healthcheck import HealthCheck
from deploykit.stages.install import Install
from deploykit.stages.local import Local
from deploykit.stages.migrate import Migrate
from deploykit.stages.pause import Pause
from deploykit.stages.prune import Prune
from deploykit.stages.publish import Publish
from deploykit.stages.restart import Restart
from deploykit.stages.shell import Shell
from deploykit.stages.smoketest import SmokeTest
from deploykit.stages.transfer import Transfer

__all__ = [
    "Backup",
    "HealthCheck",
    "Install",
    "Local",
    "Migrate",
    "Pause",
    "Prune",
    "Publish",
    "Restart",
    "Shell",
    "SmokeTest",
    "Transfer",
]
