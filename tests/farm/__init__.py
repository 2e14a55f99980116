"""
The test bed: real Debian hosts, with systemd and OpenSSH, on a network of their own.

Tests use the fixtures in `tests.farm.fixtures` and `eventually`; `Host` says what a host can do.
"""

from tests.farm.farm import Farm
from tests.farm.fixtures import Hosts
from tests.farm.host import Host
from tests.farm.shell import CommandFailedError, CommandTimedOutError, FarmError
from tests.farm.waiting import eventually

__all__ = [
    "CommandFailedError",
    "CommandTimedOutError",
    "Farm",
    "FarmError",
    "Host",
    "Hosts",
    "eventually",
]
