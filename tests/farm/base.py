"""
The tree of files that every host starts from: one Debian, built once and kept.

The cache is keyed by a hash of the recipe, so a changed recipe builds a new tree.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.farm.shell import CommandFailedError, FarmError, call

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITE: Final = "bookworm"
PYTHON: Final = "3.11"
"""The Python of that Debian: wheels for the hosts are chosen for it."""

PACKAGES: Final = (
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd"),
    *("openssh-server", "sudo", "acl", "ca-certificates", "curl", "rsync", "zstd", "cron"),
    *("supervisor", "fish", "tcsh"),
    *("iproute2", "iputils-ping", "nftables", "procps", "busybox", "util-linux"),
    *("python3", "python3-venv", "nginx-light", "sqlite3", "postgresql-15", "mariadb-server"),
)
QUIET: Final = (
    *("cron", "nginx", "supervisor", "mariadb", "postgresql", "postgresql@15-main"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap", "nftables"),
)
"""Units that are installed but not started at boot; a test starts what it needs."""

MASKED: Final = (
    *("console-getty.service", "getty.target", "systemd-networkd.service"),
    *("systemd-timesyncd.service", "systemd-pcrphase.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    *("systemd-udevd.service", "systemd-udev-trigger.service", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "dev-hugepages.mount"),
    *("systemd-tmpfiles-setup-dev.service", "systemd-remount-fs.service"),
    "systemd-journal-flush.service",
)
"""Units that only mean something on hardware.
logind is not among them: `systemctl reboot` needs it."""

FILES: Final = {
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/systemd/journald.conf.d/farm.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n",
    # MaxStartups: a load test opens more connections at once than the default of 10 lets in.
    "etc/ssh/sshd_config.d/farm.conf": (
        "HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nUseDNS no\nPrintMotd no\nMaxStartups 200:30:400\n"
    ),
    # The data is thrown away with the host, so waiting for a disk buys nothing; but what the
    # database has acknowledged is with the kernel by then, so that no killed process loses it.
    "etc/postgresql-farm.conf": (
        "listen_addresses = '*'\nfsync = off\nfull_page_writes = off\n"
        "shared_buffers = 32MB\nmin_wal_size = 2MB\nmax_wal_size = 32MB\n"
    ),
    # Debian's own way to start it sleeps for two seconds, and hides the log from the journal.
    "etc/systemd/system/postgresql@15-main.service.d/farm.conf": (
        "[Service]\nType=notify\nUser=postgres\nRuntimeDirectory=postgresql\nKillSignal=SIGINT\n"
        "PIDFile=\nExecStop=\nExecStart=\nExecStart=/usr/lib/postgresql/15/bin/postgres"
        " -c config_file=/etc/postgresql/15/main/postgresql.conf\n"
    ),
    "etc/mysql/mariadb.conf.d/90-farm.cnf": (
        "[mariadbd]\nbind-address = 0.0.0.0\ninnodb_log_file_size = 4M\n"
        "innodb_buffer_pool_size = 32M\ninnodb_flush_log_at_trx_commit = 2\nskip-name-resolve\n"
    ),
}

# Both databases are made anew with small log files: a host copies every file that it opens for
# writing up from this tree, and the defaults would be 16 MB and 100 MB of zeroes each time.
SETUP: Final = f"""
set -eu
groupadd -g 1001 app
useradd -m -u 1000 -s /bin/bash -p '*' -G app deploy
useradd -m -u 1001 -g app -s /bin/bash -p '*' app
pg_dropcluster 15 main
pg_createcluster --locale C.UTF-8 15 main -- --wal-segsize=1 >/dev/null
echo "include '/etc/postgresql-farm.conf'" >> /etc/postgresql/15/main/postgresql.conf
echo "host all all 10.99.0.0/16 scram-sha-256" >> /etc/postgresql/15/main/pg_hba.conf
rm -rf /var/lib/mysql/* /etc/nginx/sites-enabled/default
mariadb-install-db --user=mysql --skip-test-db --auth-root-authentication-method=socket >/dev/null
systemctl -q disable {" ".join(QUIET)}
systemctl -q mask {" ".join(MASKED)}
systemctl -q set-default multi-user.target
rm -f /etc/hostname /etc/resolv.conf /etc/ssh/ssh_host_*
: > /etc/machine-id
: > /etc/resolv.conf
rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/log/*.log
"""

STRIPPED: Final = ("man", "doc", "locale", "info")


def cache() -> Path:
    """Return the directory that keeps base trees, wheels and the files of running farms."""
    return Path(os.environ.get("DEPLOYKIT_TESTBED", "/var/tmp/deploykit-testbed")).absolute()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other test runs out while the block runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def base_tree() -> tuple[Path, int]:
    """
    Return the base tree of this recipe, building it if no run has built it yet.

    The second part of the answer is an open file: as long as it is not closed, no other run
    takes the tree for an outdated one and removes it.
    """
    recipe = json.dumps([SUITE, PACKAGES, FILES, SETUP, STRIPPED])
    tree = cache() / f"base-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with locked(cache() / "base.lock"):
        if not tree.exists():
            _build(tree)
            _remove_outdated(tree)
        held = os.open(tree, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_SH)
    return tree, held


def _remove_outdated(current: Path) -> None:
    """Remove the trees of other recipes that no run holds."""
    for tree in set(cache().glob("base-*/")) - {current}:
        held = os.open(tree, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(tree, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(held)


def _build(tree: Path) -> None:
    """Build in a directory beside *tree* and rename, so that half a tree is never used."""
    rough = tree.with_suffix(".rough")
    shutil.rmtree(rough, ignore_errors=True)
    rough.parent.mkdir(parents=True, exist_ok=True)
    try:
        call(
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=apt"),
            f"--include={','.join(PACKAGES)}",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in STRIPPED),
            *(SUITE, str(rough)),
            within=1200,
        )
        for name, text in FILES.items():
            path = rough / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        call("chroot", str(rough), "/bin/sh", "-c", SETUP, env={"PATH": CHROOT_PATH, "LC_ALL": "C"})
    except CommandFailedError as error:
        shutil.rmtree(rough, ignore_errors=True)
        raise FarmError(f"cannot build the base tree of the test hosts: {error}") from error
    rough.rename(tree)


CHROOT_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
