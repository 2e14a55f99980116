"""Backups by hand, of a real SQLite database on a real SSH server."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Program


def test_a_backup_is_made_and_listed(deploykit: Program, site: Path) -> None:
    """`backup create` makes what the pipeline would make, and `backup list` finds it."""
    deploy = Path("deploy.py")
    deploy.write_text(
        deploy.read_text()
        .replace(
            "from deploykit.stages import Publish,",
            "from deploykit.databases import SQLite\nfrom deploykit.stages import Backup, Publish,",
        )
        .replace("Publish()]", "Backup(SQLite('shared/app.db')), Publish()]")
    )
    (site / "shared").mkdir(parents=True)
    with sqlite3.connect(site / "shared" / "app.db") as database:
        database.execute("create table t (x)")
    database.close()
    made = deploykit("backup", "create", "production", "--json")
    assert made.code == 0, made.err
    (backup,) = json.loads(deploykit("backup", "list", "production", "--json").out)
    assert backup["host"] == "vps"
    assert Path(backup["path"]).stat().st_size == backup["size"]
    assert backup["engine"] == "SQLite"
    assert not (site / "current").exists()
    assert "app.db" in deploykit("backup", "list", "production").out


def test_no_backup_yet(deploykit: Program, site: Path) -> None:
    """Where there is none, the list says how to make one; as JSON it is empty."""
    assert "deploykit backup create production" in deploykit("backup", "list", "production").out
    assert json.loads(deploykit("backup", "list", "production", "--json").out) == []
