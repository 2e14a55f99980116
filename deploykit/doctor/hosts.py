"""Looks at a host: who we are there, what we may write, how much room there is, which tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from deploykit.engine.session import Session
from deploykit.environment import Environment
from deploykit.findings import Finding
from deploykit.report.units import size
from deploykit.shell import fill

__all__ = ["examine"]

TOOLS = ("awk", "sha256sum", "readlink", "stat")
PACKAGES = {"awk": "gawk"}
LITTLE, TOO_LITTLE = 2e9, 2e8  # bytes free: a person should know; a release may not fit
FEW_FILES = 5000  # that may be made: a release with its packages has more
SKEW = 120.0  # seconds between two clocks that a person should know of

LOOK = """
echo "user=$(id -un)"
echo "clock=$(date -u +%s)"
echo "system=$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME" || uname -sr)"
for tool in {tools}; do command -v $tool >/dev/null || echo "missing=$tool"; done
if command -v python3 >/dev/null; then echo "python=$(python3 --version 2>&1)"; fi
dk_there={root}
while [ ! -e "$dk_there" ]; do dk_there=$(dirname -- "$dk_there"); done
echo "there=$dk_there"
[ -d "$dk_there" ] && [ -w "$dk_there" ] && [ -x "$dk_there" ] && echo writable=yes
df -Pk -- "$dk_there" 2>/dev/null | awk 'NR == 2 {{ print "free=" $4 * 1024 }}'
df -Pi -- "$dk_there" 2>/dev/null | awk 'NR == 2 {{ print "inodes=" $4 }}'
for dk_one in {private} {backups}; do
  if [ -d "$dk_one" ] && [ "$(stat -c %a -- "$dk_one")" != 700 ]; then echo "open=$dk_one"; fi
done
if [ -g {shared} ]; then echo "group=$(stat -c %G -- {shared})"; fi
if [ -d {shared} ]; then echo shared=yes; fi
if [ -L {current} ] && [ ! -e {current} ]; then echo "dangling=$(readlink {current})"; fi
if [ -e {current} ] && [ ! -L {current} ]; then echo foreign=yes; fi
{env_file}
"""

ENV_FILE = "if [ -r {env} ]; then echo env=yes; elif [ -e {env} ]; then echo env=unreadable; fi"


def examine(environment: Environment, session: Session) -> Iterator[Finding]:
    """Look at the host of *session*."""
    lay, env_file = session.layout, environment.pipeline.env_file
    script = fill(
        LOOK.replace("{env_file}", ENV_FILE if env_file else ""),
        root=lay.root,
        private=lay.private,
        backups=lay.backups,
        shared=lay.shared,
        current=lay.current,
        tools=list(TOOLS),
        **({"env": lay.under(env_file)} if env_file else {}),
    )
    found: dict[str, list[str]] = {}
    for line in session.query(script).output.splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    last = {key: values[-1] for key, values in found.items()}
    name = session.name
    yield Finding.ok(f"connected as {last.get('user')}; its key is known", host=name)
    yield Finding.ok(_systems(last), host=name)
    yield from _tools(found.get("missing", ()), name)
    yield from _root(environment, last, name)
    yield from _room(last, name)
    yield from _clock(last, name)
    yield from _shared(last, lay.shared, name)
    for folder in found.get("open", ()):
        yield Finding.warning(f"{folder} can be read by others", f"chmod 700 {folder}", host=name)
    if env_file:
        yield _env_file(environment, env_file, last, name)


def _systems(last: Mapping[str, str]) -> str:
    python = last.get("python", "no python3")
    return f"{last.get('system', 'an unknown system')}, {python}"


def _tools(missing: Iterable[str], host: str) -> Iterator[Finding]:
    tools = list(missing)
    for tool in tools:
        package = PACKAGES.get(tool, "coreutils")
        yield Finding.problem(
            f"{tool} is missing", f"as root there: apt-get install {package}", host=host
        )
    if not tools:
        yield Finding.ok(f"has {', '.join(TOOLS)}", host=host)


def _root(environment: Environment, last: Mapping[str, str], host: str) -> Iterator[Finding]:
    root, there, user = environment.pipeline.root, last.get("there", ""), last.get("user", "")
    if last.get("writable") != "yes":
        verb = "write in" if there == root else "make"
        yield Finding.problem(
            f"{user} has no right to {verb} {root}",
            f"as root there: install -d -o {user} {root}",
            host=host,
        )
    elif there == root:
        yield Finding.ok(f"{user} may write in {root}", host=host)
    else:
        yield Finding.ok(f"{root} is not there yet; {user} may make it", host=host)
    if "foreign" in last:
        yield Finding.problem(
            f"{root}/current is no link, so no release can be published there",
            f"move it away there: mv {root}/current {root}/current.old",
            host=host,
        )
    if "dangling" in last:
        yield Finding.problem(
            f"{root}/current points to {last['dangling']}, which is not there",
            f"deploykit run {environment.name}",
            host=host,
        )


def _room(last: Mapping[str, str], host: str) -> Iterator[Finding]:
    there = last.get("there", "")
    free = float(last.get("free") or 0)
    if free < LITTLE:
        make = Finding.problem if free < TOO_LITTLE else Finding.warning
        yield make(f"only {size(free)} free at {there}", f"look there: df -h {there}", host=host)
    else:
        yield Finding.ok(f"{size(free)} free at {there}", host=host)
    inodes = last.get("inodes", "")
    # Some file systems have no fixed number of files, and say 0 or nothing.
    if inodes.isdigit() and 0 < int(inodes) < FEW_FILES:
        yield Finding.problem(
            f"only {inodes} files more fit at {there}", f"look there: df -i {there}", host=host
        )


def _clock(last: Mapping[str, str], host: str) -> Iterator[Finding]:
    skew = float(last.get("clock") or 0) - datetime.now(UTC).timestamp()
    if abs(skew) > SKEW:
        yield Finding.warning(
            f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's",
            "as root there: timedatectl set-ntp true",
            host=host,
        )


def _shared(last: Mapping[str, str], shared: str, host: str) -> Iterator[Finding]:
    if "group" in last:
        yield Finding.ok(f"files in {shared} are readable by group {last['group']}", host=host)
    elif "shared" in last:
        yield Finding(
            "ok",
            f"secret files in {shared} are readable by {last.get('user')} alone",
            f"only if the application has another user: chgrp GROUP {shared}; chmod 2770 {shared}",
            host,
        )


def _env_file(environment: Environment, path: str, last: Mapping[str, str], host: str) -> Finding:
    if last.get("env") == "yes":
        return Finding.ok(f"{path} is there", host=host)
    if last.get("env") == "unreadable":
        return Finding.problem(
            f"{path} is there, but {last.get('user')} may not read it",
            f"as root there: chown {last.get('user')} {environment.pipeline.root}/{path}",
            host=host,
        )
    return Finding.problem(
        f"{path} is not there",
        f"write it here, then: deploykit shared put {environment.name} "
        f"LOCAL {path.removeprefix('shared/')}",
        host=host,
    )
