"""The program as a whole: its verbs, their help, usage errors, completion, what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from deploykit._version import __version__
from deploykit.cli.app import GROUPS, VERBS
from tests.cli.conftest import environ

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Program

WORDS = [(verb.__name__,) for verb, _ in VERBS] + [
    (name, verb.__name__.rstrip("_")) for name, _, verbs, _ in GROUPS for verb in verbs
]
PROMISED = {
    *("init", "check", "plan", "run", "resume", "rollback", "releases", "status", "runs", "logs"),
    *("trust", "demo", "lock status", "lock acquire", "lock release"),
    *("shared put", "shared get", "shared list", "backup create", "backup list"),
}
HEAVY = ("alembic", "fabric", "httpx", "paramiko", "rich", "structlog", "tenacity")


def test_every_promised_verb_is_there() -> None:
    """The verbs are those that outside programs were promised."""
    assert {" ".join(words) for words in WORDS} == PROMISED


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_help_has_an_example(deploykit: Program, words: tuple[str, ...]) -> None:
    """Each verb's help shows a command that begins with that verb."""
    ended = deploykit(*words, "--help")
    assert ended.code == 0
    assert f"deploykit {' '.join(words)}" in ended.out.partition("Example:")[2]


def test_help_lists_verbs_in_whole_sentences(deploykit: Program) -> None:
    """No line of the list is cut short."""
    ended = deploykit("--help")
    assert ended.code == 0
    assert "..." not in ended.out.partition("Commands:")[2]


@pytest.mark.parametrize("words", [(), ("lock",), ("backup",)], ids=["deploykit", "lock", "backup"])
def test_nothing_said_shows_help(deploykit: Program, words: tuple[str, ...]) -> None:
    """Without a verb the program explains itself, and says that this was a mistake."""
    ended = deploykit(*words)
    assert ended.code == 2
    assert "Commands:" in ended.out + ended.err


def test_version(deploykit: Program) -> None:
    """`--version` prints the version and nothing else."""
    assert deploykit("--version").out == f"deploykit {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [("run", "production", "--nope"), ("rum", "production"), ("run",), ("lock", "acquire", "x")],
)
def test_wrong_usage_touches_nothing(deploykit: Program, words: tuple[str, ...]) -> None:
    """An unknown option or verb, or a missing argument, is exit code 2, said on standard error."""
    ended = deploykit(*words)
    assert ended.code == 2
    assert ended.out == ""
    assert "Error" in ended.err


def test_misspelt_verb_is_suggested(deploykit: Program) -> None:
    """A verb that is nearly one names the right one."""
    assert "rollback" in deploykit("rolback", "production").err


def test_runs_as_a_module(project: Path) -> None:
    """`python -m deploykit` is the same program, and its exit code reaches the shell."""
    command = [sys.executable, "-m", "deploykit", "status", "prodction"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=project, env=environ()
    )
    assert done.returncode == 2
    assert "did you mean 'production'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    """What only some verbs need is imported when they need it, so that help comes at once."""
    script = (
        "import sys, json\n"
        "from deploykit.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ())
    assert not set(HEAVY) & set(json.loads(done.stderr))


def test_completes_environments(project: Path) -> None:
    """The shell is offered the environments of the file that was named, whatever it prints."""
    other = project / "other.py"
    other.write_text("print('noise')\n" + (project / "deploy.py").read_text())
    done = completion(project, f"deploykit -f {other.name} run pro")
    assert done.stdout.split() == ["production"]


def test_completes_nothing_where_deploy_py_is_broken(project: Path) -> None:
    """A `deploy.py` that cannot be imported must not spill a traceback into the prompt."""
    (project / "deploy.py").write_text("import nothing_of_the_kind\n")
    done = completion(project, "deploykit run pro")
    assert done.stdout.strip() == ""
    assert done.stderr == ""


def completion(project: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Ask for the completion of *line* as bash does."""
    env = {
        **environ(),
        "_DEPLOYKIT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    command = [sys.executable, "-m", "deploykit"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=project, env=env)
