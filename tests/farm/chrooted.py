"""A host on which one user gets SFTP in a folder, and no shell, as shared hosting does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.farm.waiting import eventually

if TYPE_CHECKING:
    from tests.farm.host import Host

__all__ = ["HOME", "USER", "chrooted"]

USER: Final = "app"
HOME: Final = "/srv/web"
"""What that user sees as `/`; he may write in its `site`."""

SSHD: Final = f"""\
Match User {USER}
    ChrootDirectory {HOME}
    ForceCommand internal-sftp
    AllowTcpForwarding no
"""


def chrooted(host: Host) -> None:
    """Let `USER` have nothing but SFTP, in an empty `HOME`."""
    host.root(f"rm -rf {HOME}; install -d {HOME}; install -d -o {USER} -g {USER} {HOME}/site")
    name = "/etc/ssh/sshd_config.d/chrooted.conf"
    if host.exists(name):
        return
    host.write(name, SSHD)
    host.root("systemctl reload ssh")
    # The daemon goes on with what it has read before, until it has read it again.
    eventually(
        lambda: host.ssh("true", user=USER, check=False).returncode != 0,
        message="sshd gives no shell any more",
    )
