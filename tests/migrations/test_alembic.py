"""Alembic's scripts, read from a source without running any of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploykit.errors import ConfigurationError
from deploykit.migrations.alembic import Scripts, read_scripts
from tests.stages.alembic_project import NICKS, USERS, project, revision
from tests.stages.harness import packed


def scripts(source: Path, ini: str = "alembic.ini") -> Scripts:
    """Read a project's scripts."""
    return read_scripts([packed(source)], ini)


def test_nothing_is_executed(tmp_path: Path) -> None:
    """Neither env.py, nor the application, nor a revision is imported or executed."""
    trap = f"open({str(tmp_path / 'executed')!r}, 'w')\nimport no_such_application\n"
    source = project(tmp_path / "source", USERS + trap, NICKS + trap)
    (source / "migrations/env.py").write_text(trap)
    before = list(sys.path)
    assert [file.line for file in scripts(source).pending(())] == [
        "r1 make users",
        "r2 give users nicknames",
    ]
    assert not (tmp_path / "executed").exists()
    assert sys.path == before


SEVERAL = """\
script_location = scripts
path_separator = os
version_locations = %(here)s/a b:%(here)s/other
"""
LINES = """\
script_location = scripts
version_path_separator = newline
version_locations =
    a/b
    c
"""
HERE = "script_location = scripts\n"


@pytest.mark.parametrize(
    ("ini", "folder"),
    [
        ("script_location = %(here)s/scripts", "scripts/versions"),
        (HERE, "scripts/versions"),
        ("script_location = my.app:scripts", "my/app/scripts/versions"),
        (HERE + "prepend_sys_path = /nowhere", "scripts/versions"),
        (SEVERAL, "a b"),
        (LINES, "c"),
        (HERE + "version_locations = c d", "d"),
        (HERE + "recursive_version_locations = true", "scripts/versions/2026/11"),
        (HERE + "sqlalchemy.url = %(NO_SUCH)s", "scripts/versions"),
    ],
)
def test_locations(tmp_path: Path, ini: str, folder: str) -> None:
    """Scripts are found wherever an ini may say that they are."""
    source = tmp_path / "pro ject's"
    for place in (folder, "scripts", "my/app/scripts"):
        (source / "db" / place).mkdir(parents=True, exist_ok=True)
    (source / "db/alembic.ini").write_text(f"[alembic]\n{ini}\n")
    (source / "db" / folder / "one.py").write_text(USERS)
    (source / "db" / folder / "__init__.py").write_text("")
    (source / "db" / folder / "README").write_text("no script")
    found = scripts(source, "./db/alembic.ini")
    assert (found.head(), found.folder, found.file) == ("r1", "db", "alembic.ini")


def test_pyproject(tmp_path: Path) -> None:
    """Where the ini leaves it to pyproject.toml, that says where the scripts are."""
    source = project(tmp_path / "source", USERS)
    (source / "alembic.ini").write_text("[alembic]\n")
    (source / "pyproject.toml").write_text(
        '[tool.alembic]\nscript_location = "%(here)s/migrations"\n'
    )
    assert scripts(source).head() == "r1"


def test_only_what_is_sent_counts(tmp_path: Path) -> None:
    """A revision that is excluded from the source does not exist on the hosts."""
    source = project(tmp_path / "source", USERS, NICKS)
    pack = packed(source)
    entries = tuple(e for e in pack.manifest.entries if not e.path.endswith("0001.py"))
    sent = type(pack)(source, type(pack.manifest)(entries))
    assert read_scripts([sent], "alembic.ini").head() == "r1"


def test_merged_branches(tmp_path: Path) -> None:
    """Branches that were merged have one head, and are run in an order that respects them."""
    left, right = revision("l", "r1", "left"), revision("r", "r1", "right")
    merge = revision("m", ("l", "r"), "merge")
    source = project(tmp_path / "source", USERS, left, right, merge)
    found = scripts(source)
    assert found.head() == "m"
    assert {file.id for file in found.pending(("l", "r"))} == {"m"}
    assert {file.id for file in found.pending(("l",))} == {"r", "m"}
    assert [file.id for file in found.pending(())][-1] == "m"


def test_heads_are_named(tmp_path: Path) -> None:
    """Several heads are refused, each with its message, and the way out."""
    source = project(tmp_path / "source", USERS, NICKS, revision("r3", "r1", "something else"))
    with pytest.raises(ConfigurationError, match=r"r2 give.*r3 something") as caught:
        scripts(source).head()
    assert "merge heads" in str(caught.value)


def test_unknown_revision(tmp_path: Path) -> None:
    """A database ahead of the source is refused."""
    with pytest.raises(ConfigurationError, match="r9"):
        scripts(project(tmp_path / "source", USERS)).pending(("r9",))


def test_no_revisions_at_all(tmp_path: Path) -> None:
    """A project without revisions has no head and nothing pending."""
    found = scripts(project(tmp_path / "source"))
    assert (found.head(), found.pending(())) == ("", ())


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ((USERS, USERS), "both are revision r1"),
        ((NICKS,), "r1, which is missing"),
        ((revision("a", "b", "a"), revision("b", "a", "b")), "no order"),
        (("x = 1",), "names no revision"),
        (("revision = str(1)",), "computes its revision"),
        (("revision = None",), "names no revision"),
        (("revision = 1",), "no text"),
        (("revision = ",), "cannot be read"),
        (("revision = '\0'",), "cannot be read"),
    ],
)
def test_broken_scripts(tmp_path: Path, texts: tuple[str, ...], complaint: str) -> None:
    """Scripts that Alembic would stumble over later are refused now, each by its name."""
    with pytest.raises(ConfigurationError, match=complaint):
        scripts(project(tmp_path / "source", *texts))


def test_ini_that_is_not_there(tmp_path: Path) -> None:
    """An ini that is not sent is refused, whether it exists or not."""
    source = project(tmp_path / "source", USERS)
    with pytest.raises(ConfigurationError, match="not among what is sent"):
        scripts(source, "other.ini")
    with pytest.raises(ConfigurationError, match="not among what is sent"):
        read_scripts([], "alembic.ini")


@pytest.mark.parametrize(
    "ini",
    ["[other]\n", "[alembic]\n", "alembic", "[alembic]\nscript_location = nowhere\n"],
)
def test_useless_ini(tmp_path: Path, ini: str) -> None:
    """An ini that says nothing, or something wrong, is refused by its name."""
    source = project(tmp_path / "source", USERS)
    (source / "alembic.ini").write_text(ini)
    with pytest.raises(ConfigurationError, match=r"alembic\.ini cannot be used"):
        scripts(source)


def test_scripts_outside_the_source(tmp_path: Path) -> None:
    """Scripts that are not sent with the release are refused: it could not run them."""
    source = project(tmp_path / "source", USERS)
    (tmp_path / "elsewhere/versions").mkdir(parents=True)
    (source / "alembic.ini").write_text("[alembic]\nscript_location = ../elsewhere\n")
    with pytest.raises(ConfigurationError, match="not sent"):
        scripts(source)
