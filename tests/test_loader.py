"""Finding and reading `deploy.py`: every mistake in it is named with its line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploykit.errors import ConfigurationError, DeploykitError, UnknownEnvironment
from deploykit.loader import find, load, pick

GOOD = """
from deploykit import Environment, Host, Pipeline
pipeline = Pipeline(app="shop", root="/srv/shop", stages=[])
staging = Environment(pipeline, hosts=[Host("10.0.0.9")])
production = Environment(pipeline, hosts=[Host("shop.example")])
_template = Environment(pipeline, hosts=[Host("nowhere")])
"""


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each test import its own `deploy.py`."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "deploy", raising=False)
    yield
    sys.modules.pop("deploy", None)


def declared(folder: Path, text: str) -> Path:
    """Write a `deploy.py` and return it."""
    file = folder / "deploy.py"
    file.write_text(text)
    return file


def test_environments_are_named_by_their_variables(tmp_path: Path) -> None:
    """In order, with the project bound; a leading underscore hides one."""
    found = load(declared(tmp_path, GOOD))
    assert list(found) == ["staging", "production"]
    assert found["production"].name == "production"
    assert found["production"].project == tmp_path.resolve()


def test_a_misspelt_environment_suggests_the_right_one(tmp_path: Path) -> None:
    """The known ones are listed, too."""
    found = load(declared(tmp_path, GOOD))
    with pytest.raises(UnknownEnvironment, match=r"did you mean 'production'\?") as unknown:
        pick(found, "prodution")
    assert unknown.value.state == "known: staging, production"
    assert pick(found, "staging") is found["staging"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nimport nothing_like_it\n", r"deploy\.py:2: ModuleNotFoundError"),
        ("x = 1\n\ny = (\n", r"deploy\.py:3: SyntaxError"),
        ("from deploykit.stages import Shell\nShell('a', doo='b')\n", r"deploy\.py:2: TypeError"),
        (
            "from deploykit import Host\nHost('a b')\n",
            r"deploy\.py:2: Host\('a b'\): not an address",
        ),
        ("import sys\nsys.exit(0)\n", r"deploy\.py:2: SystemExit"),
        ("x = 1\n", "declares no environment"),
        (
            GOOD + "again = Environment(pipeline, hosts=[Host('a')], name='staging')\n",
            "2 environments",
        ),
    ],
)
def test_a_mistake_in_it_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """Nothing that goes wrong in `deploy.py` looks like a success or like a bug of ours."""
    with pytest.raises(DeploykitError, match=said) as wrong:
        load(declared(tmp_path, text))
    assert wrong.value.exit_code == 2


def test_a_module_beside_it_can_be_imported(tmp_path: Path) -> None:
    """Settings may live in a file of their own."""
    (tmp_path / "settings_beside.py").write_text("ROOT = '/srv/beside'\n")
    text = "from settings_beside import ROOT\n" + GOOD.replace('"/srv/shop"', "ROOT")
    assert load(declared(tmp_path, text))["staging"].pipeline.root == "/srv/beside"


def test_it_is_found_in_its_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`deploy.py` first, then `pipelines/deploy.py`; else the command that writes one is named."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="neither") as none:
        find()
    assert "deploykit init" in none.value.then
    (tmp_path / "pipelines").mkdir()
    declared(tmp_path / "pipelines", GOOD)
    assert find() == Path("pipelines/deploy.py")
    declared(tmp_path, GOOD)
    assert find() == Path("deploy.py")
    with pytest.raises(ConfigurationError, match="there is no file"):
        find(Path("other.py"))
