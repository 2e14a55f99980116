"""Whether the pages say what is so: files whole and loadable, tables equal to the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

import deploykit
from deploykit import databases, errors, notify, services, stages
from deploykit.cli.app import app
from deploykit.engine import journal
from deploykit.loader import load
from deploykit.source import EXCLUDED
from tests.docs.blocks import DOCS, ROOT, Block, blocks

README: Final = ROOT / "README.md"
PAGES: Final = (README, *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts))
YAML: Final[Any] = importlib.import_module("invoke.vendor.yaml")
"""PyYAML, as Fabric brings it: the tests require nothing more."""

SHOP: Final = ROOT / "pipelines" / "shop" / "deploy.py"


class _Anything:
    """Stands for what is the reader's own, such as a web framework's application."""

    def __getattr__(self, name: str) -> _Anything:
        return self

    def __call__(self, *args: object) -> Any:
        return args[0] if args and callable(args[0]) else self


def test_the_readme_shows_the_shop() -> None:
    """The complete deploy.py of the README is the file that the repository holds."""
    python = [block.text for block in blocks(README) if block.language == "python"]
    assert python == [SHOP.read_text()]


def test_the_shop_declares_two_environments() -> None:
    """The complete deploy.py is read by deploykit's own loader."""
    assert list(load(SHOP)) == ["staging", "production"]


def test_the_readme_shows_what_the_tutorial_printed() -> None:
    """Each line of the README's run is a line of the run that the tests carry out."""
    shown = next(block for block in blocks(README) if block.language == "console")
    printed = (DOCS / "tutorial.md").read_text().split("\n")
    lines = [line for line in shown.text.splitlines() if line.strip() not in ("", "…")]
    assert [line for line in lines if line not in printed] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_believes_whoever_answers(page: Path) -> None:
    """Nobody is told to fetch a host's key from the network that has to be proved by it."""
    assert "ssh-keyscan" not in page.read_text()


def _python() -> Iterator[Any]:
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python":
                name = f"{page.relative_to(ROOT)}:{block.first + 1}"
                yield pytest.param(page, block, id=name)


@pytest.mark.parametrize(("page", "block"), list(_python()))
def test_python_is_python(page: Path, block: Block) -> None:
    """Each Python block can be read; a how-to's can be carried out, given deploykit's names."""
    tree = ast.parse(block.text)
    if page.parent.name != "how-to" or block.caption:
        return
    names: dict[str, Any] = {
        name: getattr(module, name)
        for module in (deploykit, databases, services, stages, notify)
        for name in module.__all__
    }
    names["database"] = databases.SQLite("shared/app.sqlite3")
    names |= dict.fromkeys(("app", "engine", "text"), _Anything())
    exec(compile(tree, page.name, "exec"), names)


@pytest.mark.parametrize("name", ["github-actions", "gitlab-ci"])
def test_ci_files_are_whole(name: str) -> None:
    """Each file for CI parses, deploys or rolls back, and has its key from a secret."""
    page = DOCS / "how-to" / f"{name}.md"
    files = [block for block in blocks(page) if block.language == "yaml"]
    assert files
    for block in files:
        assert isinstance(YAML.safe_load(block.text), dict)
        assert re.search(r"deploykit (run|rollback) production", block.text)
        assert "DEPLOY_KEY" in block.text
        assert "StrictHostKeyChecking" not in block.text


def test_every_verb_has_its_line() -> None:
    """The table of verbs has those of the program, all of them and no others."""
    shown = set(re.findall(r"^\| (`.*`) \|", _page("reference/command-line"), re.MULTILINE))
    said = {verb for cell in shown for verb in re.findall(r"`([a-z ]+)`", cell)}
    assert said == set(_verbs(get_command(app), ""))


def _verbs(command: Any, words: str) -> Iterator[str]:
    below = getattr(command, "commands", {})
    if not below:
        yield words
    for name, verb in below.items():
        yield from _verbs(verb, f"{words} {name}".strip())


def test_exit_codes_are_those_of_the_errors() -> None:
    """The table has every class of error in the row of its exit code."""
    rows = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", _page("reference/exit-codes"), re.MULTILINE)
    said = {(name, int(code)) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert said == {
        (name, kind.exit_code)
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.DeploykitError)
    }


def test_the_readme_has_the_same_exit_codes() -> None:
    """The short table has the codes of the long one."""
    row = re.compile(r"^\| (\d+) \|", re.MULTILINE)
    assert row.findall(README.read_text()) == row.findall(_page("reference/exit-codes"))


def test_every_error_is_named() -> None:
    """No class of error is missing in the docs, and each stands in the drawn tree."""
    page, tree = _page("reference/exit-codes"), inspect.getdoc(errors) or ""
    for name in set(errors.__all__) - {"unexpected"}:
        assert f"`{name}`" in page
        assert name in tree


def test_every_event_is_listed() -> None:
    """The table of events has those that the code tells, all of them and no others."""
    told: set[str] = set()
    for file in (ROOT / "deploykit").rglob("*.py"):
        told |= set(re.findall(r'tell\(\s*"(\w+)"', file.read_text()))
    cells = re.findall(r"^\| (`.*?`) \|", _page("reference/events"), re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == told


def test_every_state_is_explained() -> None:
    """The states of a run that its journal knows are those on the page about runs."""
    page = _page("explanation/how-a-run-works")
    said = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    states = set(journal.State.__args__) - {"empty"}  # type: ignore[attr-defined]  # a Literal's
    assert said == states


def test_every_field_of_a_json_document_is_listed() -> None:
    """What a verb's own help says of --json stands on the page about it."""
    page = _page("reference/json")
    for verb in _all(get_command(app)):
        _, found, schema = (verb.help or "").partition("--json:")
        for field in re.findall(r'"(\w+)"', schema.partition("\n\n")[0]) if found else ():
            assert re.search(rf'["`]{field}["`]', page), f"{verb.name}: {field}"


def _all(command: Any) -> Iterator[Any]:
    yield command
    for verb in getattr(command, "commands", {}).values():
        yield from _all(verb)


def test_every_stage_service_and_database_is_in_the_reference() -> None:
    """What can be imported to write a deploy.py has an entry."""
    pages = "".join(_page(f"reference/{name}") for name in ("stages", "services", "databases"))
    for module in (stages, services, databases):
        for name in module.__all__:
            assert re.search(rf"autoclass:: (\S+\.)?{name}\n", pages), name


def test_what_is_left_out_is_listed() -> None:
    """The patterns that Transfer leaves out by default are those on the page."""
    line = re.search(r"^By default: (.*)$", _page("reference/stages"), re.MULTILINE)
    assert line
    assert set(EXCLUDED) == set(re.findall(r"`(.*?)`", line[1])) - {"pyvenv.cfg"}


def _page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")
