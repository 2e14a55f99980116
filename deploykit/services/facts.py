"""What a host says of a service, as values: the shell that prints it, and its reading."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Literal

from deploykit.layout import Layout
from deploykit.publishing import record_path
from deploykit.shell import fill

__all__ = ["PROCESSES", "Facts", "Ground", "Process", "State", "ground", "observed"]

State = Literal["active", "starting", "stopped", "failed", "unknown"]


@dataclass(frozen=True)
class Process:
    """
    One living process of a service.

    Args:
        pid: its id.
        parent: its parent's id.
        start: when it began, in clock ticks since boot.
        cwd: its working directory; empty where we may not know.
        exe: its program; empty where we may not know.
        args: those of its arguments that name a path under the root, `--option=path` where an
            option stands before it.
    """

    pid: int
    parent: int
    start: int
    cwd: str = ""
    exe: str = ""
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ground:
    """
    What is true of the host whatever the service.

    Args:
        roots: the pipeline's root as it is written, and as it is without links.
        user: who we are there.
        boot: the kernel's boot id.
        target: what `current` contains, word for word; empty if it is no link.
        link: the release that this names; empty if there is none.
        published: the release of which the host wrote down when it was published.
        tick: when that was; 0 if it was before this boot.
        moved: when the link was made, in clock ticks since boot, up to two seconds too late:
            coarser than *tick*, and known of links that others made.
    """

    roots: tuple[str, ...] = ()
    user: str = ""
    boot: str = ""
    target: str = ""
    link: str = ""
    published: str = ""
    tick: int = 0
    moved: int = 0


@dataclass(frozen=True)
class Facts:
    """
    One service on one host at one moment.

    Args:
        state: whether it runs; `starting` for all that may become active by itself.
        said: the same in its manager's own words.
        mains: ids of its main processes.
        restarts: how often its manager has restarted it by itself.
        places: where its manager's configuration says that it runs: folders and commands.
        account: the user it runs as, where its manager says so.
        checked: what the user's own check said, where there is one.
        processless: it is one of those that have no process, such as a timer.
        processes: all that live, the main ones among them.
        ground: the host.
    """

    state: State
    said: str = ""
    mains: tuple[int, ...] = ()
    restarts: int = 0
    places: tuple[str, ...] = ()
    account: str = ""
    checked: bool | None = None
    processless: bool = False
    processes: tuple[Process, ...] = ()
    ground: Ground = field(default_factory=Ground)

    @property
    def coming(self) -> bool:
        """Return whether it is active, or may become so by itself."""
        return self.state in ("active", "starting", "unknown")

    @property
    def up(self) -> bool:
        """Return whether something of it runs now."""
        return self.state in ("active", "unknown") or (
            self.state == "starting" and bool(self.mains)
        )

    @property
    def identity(self) -> str:
        """Return what `dk_identity` prints: the same words mean the same main processes."""
        starts = {process.pid: process.start for process in self.processes}
        mains = [f"{pid}:{starts[pid]}" for pid in self.mains if pid in starts]
        return " ".join([self.ground.boot, *mains]) if mains else ""


# `/proc/PID/stat` is world-readable; what follows its last `)` are plain fields, of which the
# first is the state. Arguments are shown only where they name the root: others may be secret.
PROCESSES = r"""
dk_stat() { dk_line=$(cat "/proc/$1/stat" 2>/dev/null) && echo "${dk_line##*) }"; }
dk_identity() { # PID...: boot id and each main process's start
  dk_words=$(cat /proc/sys/kernel/random/boot_id)
  for dk_pid; do
    dk_start=$(dk_stat "$dk_pid" | cut -d ' ' -f 20)
    if [ -n "$dk_start" ]; then dk_words="$dk_words $dk_pid:$dk_start"; fi
  done
  echo "$dk_words"
}
dk_family() { # PID...: these and all their descendants
  cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\([0-9]*\) (.*) [A-Z] \([0-9]*\) .*/\1 \2/p' |
    awk -v mains="$*" '
      BEGIN { n = split(mains, list, " "); for (i = 1; i <= n; i++) mine[list[i]] = 1 }
      { parent[$1] = $2 }
      END {
        do {
          grown = 0
          for (p in parent) if (!(p in mine) && parent[p] in mine) { mine[p] = 1; grown = 1 }
        } while (grown)
        for (p in mine) if (p in parent) print p
      }'
}
dk_processes() { # ROOT PID...: what is known of each
  dk_root=$1
  shift
  for dk_pid; do
    dk_fields=$(dk_stat "$dk_pid") || continue
    case $dk_fields in [ZX]*) continue ;; esac
    echo "process=$dk_pid $(echo "$dk_fields" | cut -d ' ' -f 2,20)"
    dk_path=$(readlink "/proc/$dk_pid/cwd" 2>/dev/null) && echo "cwd=$dk_path"
    dk_path=$(readlink "/proc/$dk_pid/exe" 2>/dev/null) && echo "exe=$dk_path"
    { tr '\0' '\n' <"/proc/$dk_pid/cmdline"; } 2>/dev/null |
      dk_under=$dk_root/ awk '
        index($0, ENVIRON["dk_under"]) { print "arg=" (option ? option "=" : "") $0 }
        { option = $0 ~ /^--[a-z-]+$/ ? $0 : "" }'
  done
}
"""

_GROUND = """
echo root={root}
dk_path=$(cd -- {root} 2>/dev/null && pwd -P) && echo "root=$dk_path"
echo "user=$(id -un)"
echo "boot=$(cat /proc/sys/kernel/random/boot_id)"
if [ -L {current} ]; then
  echo "link=$(readlink {current})"
  dk_hertz=$(getconf CLK_TCK 2>/dev/null || echo 100)
  dk_booted=$(sed -n 's/^btime //p' /proc/stat)
  echo "moved=$((($(stat -c %Y {current}) + 2 - dk_booted) * dk_hertz))"
fi
[ ! -e {record} ] || sed 's/^/published=/' {record}
"""


def ground(layout: Layout) -> str:
    """Return shell that prints what is true of the host, and defines `dk_` functions."""
    record = record_path(layout, "current")
    return PROCESSES + fill(_GROUND, root=layout.root, current=layout.current, record=record)


def observed(text: str) -> tuple[dict[str, list[str]], Facts]:
    """
    Read what a look printed, a `key=value` a line.

    Returns:
        The lines by key, and facts that have processes and ground but nothing of the service's
        manager yet.
    """
    values: dict[str, list[str]] = defaultdict(list)
    processes: list[Process] = []
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals:
            continue
        if key == "process":
            pid, parent, start = (int(word) for word in value.split())
            processes.append(Process(pid, parent, start))
        elif key == "cwd" and processes:
            processes[-1] = replace(processes[-1], cwd=value)
        elif key == "exe" and processes:
            processes[-1] = replace(processes[-1], exe=value)
        elif key == "arg" and processes:
            processes[-1] = replace(processes[-1], args=(*processes[-1].args, value))
        else:
            values[key].append(value)
    return values, Facts("stopped", processes=tuple(processes), ground=_ground(values))


def _ground(values: dict[str, list[str]]) -> Ground:
    last = {key: found[-1] for key, found in values.items()}
    release, boot, tick = (*last.get("published", "").split(), "", "", "")[:3]
    here = last.get("boot", "")
    link = re.fullmatch(r"(?:.*/)?releases/([^/]+)", last.get("link", ""))
    return Ground(
        roots=tuple(dict.fromkeys(values.get("root", ()))),
        user=last.get("user", ""),
        boot=here,
        target=last.get("link", ""),
        link=link[1] if link else "",
        published=release,
        tick=int(tick) if tick and boot == here else 0,
        moved=int(last.get("moved") or 0),
    )
