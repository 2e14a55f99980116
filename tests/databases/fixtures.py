"""Database servers as pytest fixtures, started once for all tests that ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.databases import servers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.PostgresServer]:
    """A running PostgreSQL 15."""
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[servers.MariaDBServer]:
    """A running MariaDB."""
    with servers.mariadb() as server:
        yield server
