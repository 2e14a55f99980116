"""
Hosts reached by SSH: the only package that imports Fabric and paramiko.

`connecting` opens connections, `watching` ends those whose peer is gone, `link` opens channels
ahead, `transport` is what the engine sees.
"""

from __future__ import annotations

import logging

from deploykit.transport.ssh.connecting import host_key_of, known_hosts_file
from deploykit.transport.ssh.keys import fingerprint
from deploykit.transport.ssh.transport import SSHTransport, connect

__all__ = ["SSHTransport", "connect", "fingerprint", "host_key_of", "known_hosts_file"]

# What goes wrong is raised, and told by us; paramiko's own lines would stand in between.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
