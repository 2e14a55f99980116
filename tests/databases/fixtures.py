"""
Database servers as pytest fixtures, started once for all tests that ask for them.

They ask for the farm, though they use no host of it: it moves the process into a network of its
own, whose loopback is another one, so a server started before would be out of reach afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.databases import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.farm import Farm


@pytest.fixture(scope="session")
def postgres_server(farm: Farm) -> Iterator[servers.PostgresServer]:
    """A running PostgreSQL 15."""
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server(farm: Farm) -> Iterator[servers.MariaDBServer]:
    """A running MariaDB."""
    with servers.mariadb() as server:
        yield server
