"""
Hosts on this machine, each with a file system and processes of its own, and one root path for all.

A host is a mount and a PID namespace: its folder lies at the same place as every other's, a command
is run there within milliseconds, and killing all that runs there is what a power cut does.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploykit.shell import fill, quote
from tests.farm import eventually

__all__ = ["Farm", "Machine", "farm"]

# Process 1 of a host, which has no systemd, whatever this machine has. It waits for whatever is
# orphaned there, or the dead would pile up.
INIT = """
mount --bind {} {} || exit
[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd || exit
echo up
while :; do sleep 3600; done
"""
# Ends with our end of its input, and so with us, whatever ends us.
UNSHARE = """
unshare --mount --pid --fork --kill-child --mount-proc --propagation private sh -c {} 2>/dev/null &
echo $!
cat >/dev/null
kill -9 $!
"""
# A shell is spared by its own signal. What is left in the end: this shell, process 1 and its sleep.
CUT = "kill -9 -1; until set -- /proc/[0-9]*; [ $# -le 3 ]; do sleep 0.001; done"


class Machine:
    """
    One host.

    Args:
        name: its label.
        folder: what the host has at *base*.
        base: where every host has its own.
    """

    def __init__(self, name: str, folder: Path, base: Path) -> None:
        self.name = name
        self._folder = folder
        self._base = base
        self._process = subprocess.Popen(
            ["sh", "-c", fill(UNSHARE, fill(INIT, folder, base))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        output = self._process.stdout
        parent = output.readline().strip() if output else ""
        if not output or output.readline() != "up\n":
            raise RuntimeError(f"the host {name} does not come up; are we root?")
        self._init = int(Path(f"/proc/{parent}/task/{parent}/children").read_text())

    def line(self, command: str) -> str:
        """Return the line of shell that runs *command*, a line of shell, on the host."""
        words = f"nsenter --target {self._init} --mount --pid -- sh -c"
        return f"exec {words} {quote(command)}"

    def outside(self, path: str) -> Path:
        """Return where *path* of the host is found from here."""
        return self._folder / Path(path).relative_to(self._base)

    @property
    def processes(self) -> list[str]:
        """Return the command lines of what runs there, but for what always does."""
        script = "for p in /proc/[2-9] /proc/[1-9][0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done"
        done = subprocess.run(
            ["sh", "-c", self.line(f"{{ {script}; }} 2>/dev/null")],
            capture_output=True,
            text=True,
            check=False,
        )
        mine = ("", "sleep 3600 ", "tr ", f"sh -c {{ {script}; }} 2>/dev/null ")
        return [line for line in done.stdout.splitlines() if not line.startswith(mine[1:]) and line]

    def cut_power(self) -> None:
        """End everything that runs on the host at once; it is up again when this returns."""
        subprocess.run(["sh", "-c", self.line(CUT)], check=False, timeout=10)

    def close(self) -> None:
        """End the host."""
        self._process.communicate()
        eventually(lambda: not Path(f"/proc/{self._init}").exists())


class Farm:
    """
    The hosts, used by one example after the other.

    Args:
        folder: where everything of theirs lies.
        machines: by label.
    """

    def __init__(self, folder: Path, machines: Mapping[str, Machine]) -> None:
        self.machines = machines
        self.project = folder / "project"
        self._folder = folder
        self._count = 0

    @contextmanager
    def ground(self) -> Iterator[tuple[str, Path]]:
        """Give a root path that no host has anything at, and a folder that all hosts see."""
        self._count += 1
        root = str(self._folder / "base" / f"site-{self._count}")
        common = self._folder / "common" / f"site-{self._count}"
        common.mkdir()
        for machine in self.machines.values():
            machine.outside(root).mkdir()
        try:
            yield root, common
        finally:
            for machine in self.machines.values():
                machine.cut_power()  # whatever an example left behind must not reach the next one
                shutil.rmtree(machine.outside(root), ignore_errors=True)
            shutil.rmtree(common)


@contextmanager
def farm(folder: Path, names: tuple[str, ...]) -> Iterator[Farm]:
    """Give a farm of hosts called *names*, whose files lie in *folder*."""
    base = folder / "base"
    base.mkdir()
    (folder / "common").mkdir()
    (folder / "project").mkdir()
    machines: dict[str, Machine] = {}
    try:
        for name in names:
            (folder / name).mkdir()
            machines[name] = Machine(name, folder / name, base)
        yield Farm(folder, machines)
    finally:
        for machine in machines.values():
            machine.close()
