"""The test bed itself: what the other tests rely on when they ask for a host."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.farm import CommandFailedError, Farm, Host, Hosts, eventually
from tests.farm.farm import clean_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def answers(host: Host, port: int = 22) -> bool:
    """Tell whether *host* accepts a connection."""
    try:
        socket.create_connection((host.ip, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def test_ssh_as_deploy(host: Host) -> None:
    """The deploying user logs in with the key, and is a member of the application's group."""
    assert host.ssh("id -un; id -Gn").stdout.split() == ["deploy", "deploy", "app"]


def test_unknown_host_key(host: Host, tmp_path: Path) -> None:
    """A client that has not been given the host's key refuses to log in."""
    nothing = f"UserKnownHostsFile={tmp_path / 'none'}"
    command = ["ssh", "-F", str(host.ssh_config), "-o", nothing, "-o", "BatchMode=yes"]
    done = subprocess.run(
        [*command, host.name, "true"], capture_output=True, text=True, check=False, timeout=20
    )
    assert "Host key verification failed" in done.stderr


def test_systemd(host: Host) -> None:
    """Systemd is PID 1, has booted without a failed unit, and runs a unit that a test wrote."""
    host.unit("hello.service", "[Service]\nExecStart=/bin/echo good day\n")
    assert host.root("systemctl is-system-running").stdout == "running\n"
    host.root("systemctl start hello.service")
    eventually(lambda: "good day" in host.journal("hello.service"))


def test_nothing_extra_runs(host: Host) -> None:
    """Databases and web servers are installed and do not run until a test starts them."""
    units = "postgresql@15-main nginx mariadb supervisor cron"
    states = host.root(f"systemctl is-active {units}", check=False).stdout.split()
    assert states == ["inactive"] * 5


def test_neighbours(hosts: Hosts) -> None:
    """Hosts that were asked for together reach one another by name."""
    first, second = hosts(2)[:2]
    greeting = first.as_user("app", f"head -c 4 < /dev/tcp/{second.ip}/22").stdout
    assert greeting == "SSH-"


def test_no_way_out(host: Host) -> None:
    """Neither a test nor a host reaches an address outside of the farm."""
    with pytest.raises(OSError, match="unreachable"):
        socket.create_connection(("192.0.2.1", 80), timeout=5)
    assert "unreachable" in host.root("cat < /dev/tcp/192.0.2.1/80", check=False).stderr


def test_files(host: Host, tmp_path: Path) -> None:
    """What a test writes or copies into a host has the mode and the owner it asked for."""
    host.write("/srv/shop/one.txt", "one\n", mode=0o640, owner="deploy:app")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/three.txt").write_text("three\n")
    host.copy(tmp_path / "two", "/srv/shop/two", owner="app:app")
    assert host.read("/srv/shop/one.txt") == "one\n"
    assert host.read("/srv/shop/two/three.txt") == "three\n"
    seen = host.root("cd /srv/shop; stat -c '%a %U %G' one.txt two/three.txt").stdout
    assert seen == "640 deploy app\n644 app app\n"
    assert not host.exists("/srv/shop/four.txt")


def test_sudo_one_rule(fresh_host: Host) -> None:
    """A rule for sudo allows what it names and nothing else."""
    assert fresh_host.ssh("sudo -n id -u", check=False).returncode == 1
    fresh_host.sudoers("deploy ALL=(root) NOPASSWD: /usr/bin/id -u")
    assert fresh_host.ssh("sudo -n id -u").stdout == "0\n"
    assert fresh_host.ssh("sudo -n id -g", check=False).returncode == 1


def test_sudo_broken_rule(host: Host) -> None:
    """A rule with an error in it is refused."""
    with pytest.raises(CommandFailedError, match="syntax error"):
        host.sudoers("deploy ALL=(root NOPASSWD")


def test_sudo_password(fresh_host: Host) -> None:
    """With a password given, sudo asks for it."""
    fresh_host.sudo_password("hunter2")
    assert fresh_host.ssh("sudo -S -p '' id -u", input="wrong\n", check=False).returncode == 1
    assert fresh_host.ssh("sudo -S -p '' id -u", input="hunter2\n").stdout == "0\n"


def test_postgres(hosts: Hosts) -> None:
    """PostgreSQL answers at the URL it is given, also from another host."""
    first, second = hosts(2)[:2]
    url = first.postgres("shop")
    query = f"psql -qAtX '{url}' -c 'CREATE TABLE t (n int)' -c 'SELECT count(*) FROM t'"
    assert second.as_user("app", query).stdout == "0\n"


def test_mariadb(hosts: Hosts) -> None:
    """MariaDB answers at the address it is given, also from another host."""
    first, second = hosts(2)[:2]
    assert first.mariadb("shop") == f"mysql://shop:secret@{first.ip}:3306/shop"
    query = "CREATE TABLE t (n int); SELECT count(*) FROM t"
    login = f"-h {first.ip} -u shop -psecret shop"
    assert second.as_user("app", f"mariadb -N {login} -e '{query}'").stdout == "0\n"


def test_nginx(host: Host) -> None:
    """A site that a test writes is served."""
    host.nginx("server { listen 80; location / { return 200 'hello'; } }")
    assert host.root("curl -sf http://localhost/").stdout == "hello"


def test_supervisor_and_cron(host: Host) -> None:
    """The other two services start when they are told to."""
    host.root("systemctl start supervisor cron")
    assert host.root("systemctl is-active supervisor cron").stdout == "active\nactive\n"
    eventually(lambda: host.root("supervisorctl status", check=False).returncode == 0)


def test_partition_and_heal(hosts: Hosts) -> None:
    """A partitioned host answers nobody, and answers again when the network has healed."""
    first, second = hosts(2)[:2]
    first.partition()
    assert not answers(first)
    assert answers(second)
    first.heal()
    assert answers(first)


def test_partition_between_two(hosts: Hosts) -> None:
    """Two hosts can lose each other while the tests still reach both."""
    first, second = hosts(2)[:2]
    first.partition(second)
    dial = f"timeout 1 bash -c ': < /dev/tcp/{first.ip}/22'"
    assert second.root(dial, check=False).returncode == 124
    assert answers(first)


def test_other_network_trouble(host: Host) -> None:
    """A host refuses, loses its cable, and is slow, one after the other."""
    host.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host.ip, 22), timeout=5)
    host.linkdown()
    assert not answers(host)
    host.heal()
    host.rate("1mbit")
    assert answers(host)
    host.heal()
    assert answers(host)


def test_frozen(host: Host) -> None:
    """A frozen host takes the connection and says nothing, until it is thawed."""
    host.freeze()
    with socket.create_connection((host.ip, 22), timeout=0.5) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(4)
        host.thaw()
        connection.settimeout(10)
        assert connection.recv(4) == b"SSH-"


def test_power_loss(host: Host) -> None:
    """After a power loss the files are there, in another boot, and a reboot is one more."""
    host.write("/srv/kept.txt", "kept\n")
    boots = [host.boot_id]
    host.kill()
    assert not host.is_running
    assert not answers(host)
    host.start()
    boots.append(host.boot_id)
    host.reboot()
    boots.append(host.boot_id)
    assert len(set(boots)) == 3
    assert host.read("/srv/kept.txt") == "kept\n"


def test_disk_full(hosts: Hosts) -> None:
    """A host with a small disk says so when it is full, and writes again when it is not."""
    [small] = hosts(1, disk="64M")
    small.fill()
    with pytest.raises(CommandFailedError, match="No space left on device"):
        small.write("/srv/file.txt", "text\n")
    assert small.ssh("echo still here").stdout == "still here\n"
    small.unfill()
    small.write("/srv/file.txt", "text\n")


def test_fill_needs_a_limit(host: Host) -> None:
    """The disk of the machine that runs the tests cannot be filled by mistake."""
    with pytest.raises(ValueError, match="no disk of its own"):
        host.fill()


def test_disk_read_only(host: Host) -> None:
    """A host whose disk is read-only refuses to write."""
    host.readonly()
    with pytest.raises(CommandFailedError, match="Read-only file system"):
        host.root("touch /srv/file.txt")
    host.writable()
    host.root("touch /srv/file.txt")


def test_wheels(host: Host, wheelhouse: Callable[..., Path]) -> None:
    """Wheels downloaded while in the hub install on a host, which has no internet."""
    host.copy(wheelhouse("tomli-w"), "/srv/wheels")
    host.root(
        """
        python3 -m venv /srv/venv
        /srv/venv/bin/pip install -q --no-index --find-links /srv/wheels tomli-w
        /srv/venv/bin/python -c 'import tomli_w'
        """
    )


def test_home(home: Path) -> None:
    """A test's HOME is an empty directory of its own, and no ssh agent is in reach."""
    assert os.environ["HOME"] == str(home)
    assert "SSH_AUTH_SOCK" not in os.environ


CHILD = """
import os, signal, sys
from tests.farm import Farm
bed = Farm()
bed.up()
bed.enter()
bed.boot(2)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "forked":
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)
assert all(host.is_running for host in bed.hosts)
if sys.argv[1] == "down":
    bed.down()
"""


def child(how: str) -> tuple[Farm, int]:
    """Run a farm of two hosts in another process; return it and how the process ended."""
    with subprocess.Popen([sys.executable, "-c", CHILD, how]) as process:
        return Farm(f"dk{process.pid}"), process.wait(60)


@pytest.mark.parametrize("how", ["down", "exit", "forked"])
def test_down_leaves_nothing(farm: Farm, how: str) -> None:
    """A farm that is taken down, or whose own process exits, leaves nothing behind."""
    other, code = child(how)
    assert code == 0
    assert other.leftovers() == []
    assert farm.leftovers() != []


def test_killed_farm(farm: Farm, host: Host) -> None:
    """What a killed test run left is removed by the next, and no living farm is touched."""
    other, code = child("killed")
    assert code == -signal.SIGKILL
    assert any(line.startswith("process") for line in other.leftovers())
    clean_up()
    assert other.leftovers() == []
    assert farm.leftovers() != []
    assert answers(host)
