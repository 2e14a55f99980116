"""
Make the folder that a release of I Hate Money is: wheels, migration scripts, settings.

    python3 pack.py 7.2.1

The hosts have no way to the package index, so all that `pip install --no-index` will ask for is
put beside the requirements here, for the hosts' Python and not for the one that runs this. To
pack without the index as well, set pip's own PIP_NO_INDEX and PIP_FIND_LINKS.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import venv
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = "3.11"
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
SOURCE_ONLY = ("debts",)
MIGRATIONS = "ihatemoney/migrations/"


def pack(version: str, release: Path) -> None:
    """Make *release* anew for *version*; it appears only when it is complete."""
    release.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=release.parent, prefix=".pack-") as scratch:
        pip = install_pip(Path(scratch, "pip"))
        made = Path(scratch, "release")
        shutil.copytree(HERE / "site", made, ignore=shutil.ignore_patterns("__pycache__"))
        requirements = made / "requirements.txt"
        with requirements.open("a") as lines:
            lines.write(f"ihatemoney=={version}\n")
        wheels = made / "wheels"
        build_wheels(pip, requirements, wheels)
        download_wheels(pip, requirements, wheels)
        unpack_migrations(next(wheels.glob("ihatemoney-*.whl")), made)
        shutil.rmtree(release, ignore_errors=True)
        made.rename(release)


def install_pip(where: Path) -> Path:
    """Make a virtual environment with a pip, whatever Python runs this, and return the pip."""
    venv.create(where, with_pip=True, symlinks=True)
    return where / "bin" / "pip"


def build_wheels(pip: Path, requirements: Path, wheels: Path) -> None:
    """Build the wheels of the pure Python packages that are published as source alone."""
    pins = [line for line in requirements.read_text().splitlines() if _name(line) in SOURCE_ONLY]
    run(pip, "wheel", "--no-deps", f"--wheel-dir={wheels}", *pins)


def download_wheels(pip: Path, requirements: Path, wheels: Path) -> None:
    """Fetch the wheels of all the rest, for the hosts' Python."""
    target = [f"--python-version={PYTHON}", "--implementation=cp"]
    target += [f"--platform={platform}" for platform in PLATFORMS]
    sources = ["--only-binary=:all:", f"--find-links={wheels}"]
    run(pip, "download", *sources, *target, f"--dest={wheels}", f"--requirement={requirements}")


def unpack_migrations(wheel: Path, release: Path) -> None:
    """Lay the application's migration scripts into *release*, out of its *wheel*."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(dir=release) as scratch:
        archive.extractall(
            scratch, [name for name in archive.namelist() if name.startswith(MIGRATIONS)]
        )
        Path(scratch, MIGRATIONS).rename(release / "migrations")


def run(pip: Path, *arguments: str) -> None:
    """Run *pip*; a wheel built twice from one source is the same to the byte."""
    settings = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "SOURCE_DATE_EPOCH": "315532800"}
    subprocess.run([pip, *arguments, "--quiet"], check=True, env=os.environ | settings)


def _name(requirement: str) -> str:
    return requirement.partition("==")[0]


def main() -> None:
    """Pack the version named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("version", help="the version of ihatemoney, such as 7.2.1")
    parser.add_argument("--into", type=Path, default=HERE / "release", help="the folder to make")
    chosen = parser.parse_args()
    pack(chosen.version, chosen.into.resolve())


if __name__ == "__main__":
    main()
