"""What a revision file says, and what its functions do, as far as parsing tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit.migrations.revision_file import RevisionFile, read_revision


def read(tmp_path: Path, text: str) -> RevisionFile:
    """Write a revision file and read it."""
    file = tmp_path / "one.py"
    file.write_text(text, encoding="utf-8")
    return read_revision(file, "versions/one.py")


def test_identifiers(tmp_path: Path) -> None:
    """Identifiers are read however they are written, annotated or not."""
    found = read(
        tmp_path,
        '"""\nMake ünïcode.\n\nMore words."""\n'
        "from typing import Union\n"
        'revision: str = "abc"\n'
        'down_revision: Union[str, None] = ("x", "y")\n'
        'branch_labels = {"b", "a"}\n'
        'depends_on = "z"\n',
    )
    assert (found.id, found.down, found.labels) == ("abc", ("x", "y"), ("a", "b"))
    assert (found.depends_on, found.line) == (("z",), "abc Make ünïcode.")


def test_without_a_message(tmp_path: Path) -> None:
    """A revision without a docstring is called by its id."""
    assert read(tmp_path, 'revision = "abc"').line == "abc"


@pytest.mark.parametrize(
    ("downgrade", "reversible"),
    [
        ("def downgrade():\n    pass", False),
        ("def downgrade():\n    ...", False),
        ('def downgrade() -> None:\n    """There is no way back."""', False),
        ("def downgrade():\n    raise NotImplementedError('no')", False),
        ("def downgrade():\n    return", False),
        ("", False),
        ("def downgrade():\n    op.drop_table('t')", True),
        ("def downgrade():\n    'back'\n    other()", True),
        ("from helpers import downgrade", True),
        ("from helpers import back as downgrade", True),
        ("downgrade = make()", True),
    ],
)
def test_reversible(tmp_path: Path, downgrade: str, reversible: bool) -> None:
    """A downgrade that does nothing is none."""
    assert read(tmp_path, f'revision = "r"\n{downgrade}\n').reversible is reversible


@pytest.mark.parametrize(
    ("code", "drops"),
    [
        ('op.drop_table("posts")', ("table posts",)),
        ('op.drop_column("users", "name")', ("column users.name",)),
        ('op.drop_column(table_name="users", column_name="name")', ("column users.name",)),
        ('op.drop_column("users", column_name="name", schema="s")', ("column users.name",)),
        (
            """with op.batch_alter_table("users", schema=None) as b:
        b.drop_column("name"); b.drop_column("age")""",
            ("column users.name", "column users.age"),
        ),
        ('op.drop_column(T, f"{x}")', ("column ?.?",)),
        ('op.drop_index("i")', ()),
        ("pass", ()),
    ],
)
def test_drops(tmp_path: Path, code: str, drops: tuple[str, ...]) -> None:
    """What is dropped is named, in either direction, as far as it is written out."""
    text = f'revision = "r"\ndef upgrade():\n    {code}\ndef downgrade():\n    {code}\n'
    found = read(tmp_path, text)
    assert found.upgrade_drops == found.downgrade_drops == drops


def test_own_sql(tmp_path: Path) -> None:
    """Statements of the downgrade's own are noticed, and not looked into."""
    text = 'revision = "r"\ndef downgrade():\n    {}\n'
    assert read(tmp_path, text.format("op.execute('delete from t')")).own_sql
    assert read(tmp_path, text.format("op.get_bind().execute(x)")).own_sql
    assert not read(tmp_path, text.format("op.drop_table('t')")).own_sql
