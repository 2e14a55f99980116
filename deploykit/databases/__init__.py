"""
Databases as values: where they are, and the scripts that work on them there.

`Postgres`, `MariaDB` (MySQL too) and `SQLite`, each from a URL, a `Secret` that holds one, or, for
servers, `from_parts`. What they have in common is in `base`, their backups are in `backups`, and
`asking` is what puts their questions to a host.
"""

from __future__ import annotations

from deploykit.databases.mariadb import MariaDB
from deploykit.databases.postgres import Postgres
from deploykit.databases.sqlite import SQLite

__all__ = ["MariaDB", "Postgres", "SQLite"]
