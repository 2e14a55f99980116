"""The migrations: every row survives each of them, in both directions."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from deploykit.demo.scheduler import RELEASES
from tests.demo.site import LATER, LONG_AGO, Tree, checked_out, post_fields

if TYPE_CHECKING:
    from pathlib import Path

BODIES = ["one line", "two\nlines", "ends its line\n", "\nbegins late", "a\r\nb", "", "ü\n\nß\n"]
NETWORKS = ["mastodon", "linkedin,mastodon", "mastodon,bluesky,linkedin"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Check out v3, which has every migration, over a database that v1 has filled."""
    tree = checked_out("v3", tmp_path, tmp_path / "posts.sqlite3")
    tree.migrate("upgrade", "0001")
    with closing(sqlite3.connect(tree.database)) as database, database:
        database.execute("INSERT INTO accounts VALUES (1, 'Flowers')")
        database.executemany(
            "INSERT INTO posts (account_id, body, networks, due_at, published_at)"
            " VALUES (1, ?, ?, '2199-01-31 09:00:00.000000', NULL)",
            [(body, networks) for body in BODIES for networks in NETWORKS],
        )
    return tree


def contents(path: Path) -> dict[str, tuple[list[tuple[object, ...]], list[tuple[object, ...]]]]:
    """Return the columns and the rows of every table."""
    with closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            table: (
                database.execute(f"PRAGMA table_info({table})").fetchall(),
                sorted(database.execute(f"SELECT * FROM {table}"), key=repr),
            )
            for (table,) in tables
        }


@pytest.mark.parametrize("revision", ["0002", "0003"])
def test_up_and_down_again(tree: Tree, revision: str) -> None:
    """After a downgrade the tables are those of before, column by column and row by row."""
    before = contents(tree.database)
    tree.migrate("upgrade", revision)
    assert contents(tree.database) != before
    tree.migrate("downgrade", "0001")
    assert contents(tree.database) == before


def test_each_step_reads_the_same(tree: Tree, tmp_path: Path) -> None:
    """The export of every release says the same of rows that v1 has written."""
    exports = []
    for release in RELEASES:
        site = checked_out(release, tmp_path / "trees", tree.database)
        site.migrate("upgrade", "head")
        with site.serving() as client:
            exports.append(client.get("/export.json").json())
    assert exports[0] == exports[1] == exports[2]
    assert [post["body"] for post in exports[0][:: len(NETWORKS)]] == BODIES


@pytest.mark.parametrize(("newer", "older"), [("v2", "v1"), ("v3", "v2"), ("v3", "v1")])
def test_rows_of_the_newer_release_go_down(tmp_path: Path, newer: str, older: str) -> None:
    """What was written through a newer release can be read through an older one."""
    new = checked_out(newer, tmp_path, tmp_path / "posts.sqlite3")
    new.migrate("upgrade", "head")
    with new.serving() as client:
        client.post("/accounts", data={"name": "Flowers"})
        client.post("/posts", data=post_fields(newer, "Tulips\nfresh\ntoday"))
        client.post("/posts", data=post_fields(newer, "Roses", due=LONG_AGO))
        before = client.get("/export.json").json()
    assert [post["body"] for post in before] == ["Tulips\nfresh\ntoday", "Roses"]
    assert before[0]["due_at"] == f"{LATER}:00"
    new.migrate("downgrade", f"000{older[1]}")
    with checked_out(older, tmp_path, new.database).serving() as client:
        assert client.get("/export.json").json() == before


@pytest.mark.parametrize("release", RELEASES)
def test_tables_are_those_of_the_code(tmp_path: Path, release: str) -> None:
    """Alembic finds no difference between the migrated database and the release's models."""
    tree = checked_out(release, tmp_path, tmp_path / "posts.sqlite3")
    tree.migrate("upgrade", "head")
    assert "No new upgrade operations detected" in tree.run("-m", "alembic.config", "check")


def test_broken_migration_leaves_nothing(tree: Tree) -> None:
    """A migration that breaks off midway leaves the tables and the rows as they were."""
    before = contents(tree.database)
    script = tree.path / "migrations" / "versions" / "0003_networks_as_rows.py"
    # The last statement of the upgrade, after the new table has been made and filled.
    script.write_text(script.read_text().replace('drop_column("networks")', 'drop_column("no")'))
    with pytest.raises(AssertionError, match="KeyError"):
        tree.migrate("upgrade", "head")
    assert contents(tree.database) == before


def test_new_revision_is_a_module(tree: Tree) -> None:
    """`alembic revision` writes a file that Python can read and that changes nothing yet."""
    tree.migrate("upgrade", "head")
    before = contents(tree.database)
    tree.run("-m", "alembic.config", "revision", "-m", "say more", "--rev-id", "0004")
    tree.migrate("upgrade", "head")
    tree.migrate("downgrade", "0003")
    assert contents(tree.database) == before
