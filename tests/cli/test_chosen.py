"""Finding `deploy.py` and the environment in it: every way in which that goes wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import PaperEngine, Program


def test_misspelt_environment_suggests_the_right_one(deploykit: Program, project: Path) -> None:
    """A typo names what was meant, and all there are."""
    ended = deploykit("run", "prodution")
    assert ended.code == 2
    assert "did you mean 'production'?" in ended.err
    assert "staging" in ended.err


def test_no_deploy_py_names_init(
    deploykit: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a `deploy.py` the next command is the one that writes it."""
    monkeypatch.chdir(tmp_path)
    ended = deploykit("run", "production")
    assert ended.code == 2
    assert "deploykit init" in ended.err


def test_named_file_that_is_not_there(deploykit: Program, project: Path) -> None:
    """`-f` of a missing file says so, and does not fall back on another."""
    ended = deploykit("-f", "elsewhere.py", "run", "production")
    assert ended.code == 2
    assert "elsewhere.py" in ended.err


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("x = (\ny = 1\n", 1, "SyntaxError"),
        ("\nimport nothing_of_the_kind\n", 2, "nothing_of_the_kind"),
        (
            "from deploykit import Pipeline\n\nPipeline(app='a', root='/a', stages=[], pth=[])\n",
            3,
            "pth",
        ),
        ("from deploykit import Host\n\nHost('a b')\n", 3, "not an address"),
    ],
    ids=["syntax", "import", "keyword", "value"],
)
def test_mistake_in_deploy_py_is_named_with_its_line(
    deploykit: Program, project: Path, text: str, line: int, said: str
) -> None:
    """A mistake is shown as file and line, without a traceback."""
    (project / "deploy.py").write_text(text)
    ended = deploykit("plan", "production")
    assert ended.code == 2
    assert f"deploy.py:{line}" in ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_what_deploy_py_prints_stays_out_of_the_answer(
    deploykit: Program, engine: PaperEngine, project: Path
) -> None:
    """Standard output carries one JSON document and nothing else."""
    file = project / "deploy.py"
    file.write_text(f"print('noise')\n{file.read_text()}")
    ended = deploykit("status", "production", "--json")
    assert json.loads(ended.out)["environment"] == "production"
    assert "noise" in ended.err


def test_an_error_is_a_document_too(deploykit: Program, project: Path) -> None:
    """With `--json` even a failure leaves one JSON document on standard output."""
    ended = deploykit("status", "nowhere", "--json")
    assert ended.code == 2
    error = json.loads(ended.out)["error"]
    assert error["kind"] == "UnknownEnvironment"
    assert error["exit_code"] == 2
    assert "nowhere" in ended.err
