"""The package can be imported where there is no POSIX, so that Windows users can at least plan."""

from __future__ import annotations

import subprocess
import sys

import pytest

POSIX_ONLY = ("fcntl", "grp", "pwd", "termios", "pty", "tty", "resource", "syslog")

BLOCKED = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked!r}:
            raise ImportError(name + " is not on this system")

# Other people's libraries choose by sys.platform, which cannot be changed here: they come first.
import alembic.config, fabric, httpx, paramiko, platformdirs, rich.live, structlog, typer
for name in {blocked!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
import deploykit
skipped = ("deploykit.demo", "deploykit.__main__")
names = [m.name for m in pkgutil.walk_packages(deploykit.__path__, "deploykit.")]
for name in names:
    if not name.startswith(skipped):
        importlib.import_module(name)
print(len(names))
"""


def test_everything_imports_without_posix_modules() -> None:
    """Every module but the demo, which plays a Unix host, imports without POSIX's own modules."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=POSIX_ONLY)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


@pytest.mark.parametrize("module", ["fabric", "paramiko", "alembic", "httpx", "rich", "sqlalchemy"])
def test_help_pays_for_no_heavy_import(module: str) -> None:
    """`deploykit --help` imports none of the heavy libraries; they come where they are used."""
    script = (
        "import sys\n"
        "sys.argv = ['deploykit', '--help']\n"
        "from deploykit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"sys.stderr.write(str({module!r} in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr == "False"
