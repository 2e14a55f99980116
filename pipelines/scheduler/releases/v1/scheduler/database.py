"""The database that DATABASE_URL names."""

import os
import sqlite3

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry


def open_engine(*, foreign_keys: bool = True) -> Engine:
    """Open the database; *foreign_keys* says whether SQLite is to hold rows to them."""
    engine = create_engine(os.environ["DATABASE_URL"])

    # Python's sqlite3 opens no transaction before a CREATE or an ALTER, so a migration that
    # breaks off would leave half of itself. We say BEGIN ourselves.
    @event.listens_for(engine, "connect")
    def take_over_transactions(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
