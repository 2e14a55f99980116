"""
Every check of this project, each in an environment of its own.

`python3 noxfile.py -s tests` needs nothing but Python 3.11 on a Debian machine, and root or
sudo; it makes itself a nox in `.nox/bootstrap`. With a nox installed, `nox -s tests` does the same.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NoReturn

ROOT: Final = Path(__file__).resolve().parent
NOX: Final = "nox>=2025.2.9"  # the first that reads [dependency-groups]


def bootstrap() -> NoReturn:
    """Become nox, which is installed for this checkout alone, with this script's arguments."""
    home = ROOT / ".nox" / "bootstrap"
    python = home / "bin" / "python"
    ready = home / "ready"
    if not (ready.exists() and python.exists()):
        # Debian's Python lacks this module, and with it `venv`, until a package adds it.
        if importlib.util.find_spec("ensurepip") is None:
            apt_install("python3-venv")
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", NOX], check=True)
        ready.touch()
    command = [str(python), "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), *sys.argv[1:]]
    os.execv(python, command)  # noqa: S606 - nox takes this process over, no shell is wanted


def apt_install(*packages: str) -> None:
    """Install the Debian *packages*."""
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
    prefix = [*as_root(), "env", "DEBIAN_FRONTEND=noninteractive"]
    install = [*prefix, *apt, "install", "-y", "--no-install-recommends", *packages]
    if subprocess.run(install, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        # There are no package lists yet on a new machine, and outdated ones on an old one.
        subprocess.run([*prefix, *apt, "update"], stdin=subprocess.DEVNULL, check=False)
        subprocess.run(install, stdin=subprocess.DEVNULL, check=True)


def as_root() -> list[str]:
    """Return the words that make the command after them run as root."""
    return [] if os.geteuid() == 0 else ["sudo", "-E"]


if __name__ == "__main__":
    bootstrap()

import nox  # noqa: E402 - the script above runs where there is no nox yet

nox.needs_version = NOX.removeprefix("nox")
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True

PROJECT: Final = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS: Final = nox.project.python_versions(PROJECT)

DEBIAN: Final = (
    *("mmdebstrap", "debian-archive-keyring", "systemd-container", "iproute2", "nftables"),
    *("openssh-client", "openssh-server", "util-linux", "socat", "procps", "sudo", "busybox"),
    *("postgresql-15", "mariadb-server", "sqlite3", "git", "curl", "wget", "python3", "strace"),
    *("zstd", "proftpd-core", "proftpd-mod-crypto"),
)
"""What the test hosts need from the machine they run on, and the tests that run beside them."""


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of the dependency group *name*."""
    return nox.project.dependency_groups(PROJECT, name)


def is_installed(package: str) -> bool:
    """Tell whether the Debian *package* is on this machine."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout == "installed"


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, against real hosts; arguments after `--` go to pytest."""
    # Not editable: the command that the tests call is packaged as users will get it.
    session.install(".[demo]", *group("tests"))
    on_hosts(session, "pytest", *session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """
    Read a million SFTP messages, then kill controllers at every effect, for an hour or two.

    `-- --help` says what can be chosen.
    """
    session.install(".[demo]", *group("tests"))
    on_hosts(session, "tests.faults", *session.posargs)


def on_hosts(session: nox.Session, module: str, *arguments: str) -> None:
    """Run *module* as root, with all that the test hosts need on this machine."""
    missing = [package for package in DEBIAN if not is_installed(package)]
    if missing:
        apt_install(*missing)
    command = [str(Path(session.bin) / "python"), "-m", module, *arguments]
    path = f"PATH={session.bin}:{os.environ['PATH']}"
    session.run(*as_root(), "env", path, *command, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, layers and docstrings."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")
    session.run("interrogate", "deploykit", "pipelines", "tests", "noxfile.py")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types: of everything here, then of the library for each Python and platform."""
    session.install("-e", ".[demo]", *group("typing"))
    mypy = ("mypy", "--explicit-package-bases")
    session.run(*mypy, "deploykit", "pipelines", "tests")
    targets = [(python, "linux") for python in PYTHONS]
    targets += [(PYTHONS[0], platform) for platform in ("darwin", "win32")]
    for python, platform in targets:
        # A cache for each, because the next target would throw the last one's away.
        cache = f"--cache-dir=.mypy_cache/{platform}-{python}"
        session.run(*mypy, cache, "--python-version", python, "--platform", platform, "deploykit")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; every warning is an error."""
    session.install(".[demo]", *group("docs"))
    session.run("sphinx-build", "-W", "-n", "--keep-going", "docs", "docs/_build")


@nox.session
def demo(session: nox.Session) -> None:
    """Install the project as a user does, and run its demonstration."""
    session.install(".[demo]")
    session.run("deploykit", "demo", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run the benchmarks, or those that are named after `--`."""
    session.install(".[demo]", *group("tests"))
    names = session.posargs or sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    for name in names:
        session.run("python", f"benchmarks/{name}.py")
