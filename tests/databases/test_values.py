"""Databases as values: made from URLs, secrets and parts, journalled without a password."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploykit import codec
from deploykit.databases import MariaDB, Postgres, SQLite
from deploykit.errors import ConfigurationError
from deploykit.layout import Layout
from deploykit.secrets import Secret

LAYOUT = Layout("/srv/shop")


def read(secret: Secret) -> str:
    """Return a literal's value, and of others `<name>`."""
    return secret.value or {"PORT": "6432"}.get(secret.name, f"<{secret.name}>")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Postgres("mysql://u:hidden@h/d"),
        lambda: MariaDB("postgres://u:hidden@h/d"),
        lambda: SQLite("postgres://u:hidden@h/d"),
        lambda: SQLite("sqlite://"),
        lambda: SQLite("sqlite://host/hidden"),
        lambda: SQLite(":memory:"),
        lambda: SQLite(""),
        lambda: Postgres(Secret.literal("sqlite:///hidden")),
    ],
)
def test_wrong_kind_is_refused_at_import(make: Any) -> None:
    """A URL of another engine is an error in `deploy.py`, and is not shown."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "hidden" not in str(caught.value)


def test_wrong_kind_in_a_secret() -> None:
    """A secret that turns out to be another engine's is refused when it is read."""
    with pytest.raises(ConfigurationError, match="mysql://"):
        MariaDB(Secret.from_env("URL")).resolve(read, LAYOUT, "h")


@pytest.mark.parametrize(
    "database",
    [
        Postgres("postgres://u:hidden@h/d"),
        Postgres(Secret.on_host("shared/.env", "DATABASE_URL")),
        MariaDB.from_parts(host="h", user="u", password="hidden", name="d"),
        SQLite("shared/db.sqlite3"),
    ],
)
def test_journal_and_repr_hold_no_password(database: Any) -> None:
    """A database survives the journal, which never learns a password."""
    text = json.dumps(codec.encode(database))
    assert "hidden" not in text + repr(database)
    again = codec.decode(json.loads(text))
    assert codec.encode(again) == codec.encode(database)


def test_environment_of_a_secret() -> None:
    """A migration finds the URL as the variable that its secret names."""
    database = Postgres(Secret.on_host("shared/.env", "SHOP_DB"))
    value = "postgres://u:p@h/d"
    assert database.environment(lambda _: value, LAYOUT) == {"SHOP_DB": value}
    assert Postgres(value).environment(read, LAYOUT) == {"DATABASE_URL": value}


def test_parts() -> None:
    """Separate variables make one URL, and are passed on by their own names."""
    database = Postgres.from_parts(
        host=Secret.from_env("HOST"),
        port=Secret.from_env("PORT"),
        user="app",
        password=Secret.from_env("PASSWORD"),
        name="shop",
    )
    resolved = database.resolve(read, LAYOUT, "web1")
    assert resolved.env["PGPASSWORD"] == "<PASSWORD>"
    assert resolved.env["PGPORT"] == "6432"
    assert database.environment(read, LAYOUT) == {
        "DATABASE_URL": "postgresql://app:%3CPASSWORD%3E@<HOST>:6432/shop",
        "HOST": "<HOST>",
        "PORT": "6432",
        "PASSWORD": "<PASSWORD>",
    }


def test_postgres_environment() -> None:
    """What drivers call TLS and sockets, libpq is told in its own words."""
    database = Postgres("postgresql+asyncpg://u:p@/d?host=/run/pg&ssl=true&channel_binding=prefer")
    env = database.resolve(read, LAYOUT, "h").env
    assert env["PGHOST"] == "/run/pg"
    assert env["PGSSLMODE"] == "require"
    assert env["PGCHANNELBINDING"] == "prefer"
    assert "PGPORT" not in env


def test_mariadb_password_is_in_no_word() -> None:
    """The tools of MariaDB are given the password by the environment alone."""
    resolved = MariaDB("mysql://u:hidden@localhost/d?ssl_ca=/ca.pem").resolve(read, LAYOUT, "h")
    assert resolved.env == {"MYSQL_PWD": "hidden"}
    assert "hidden" not in " ".join(resolved.words)
    assert {"--host=127.0.0.1", "--ssl-ca=/ca.pem"} <= set(resolved.words)


@pytest.mark.parametrize(
    ("source", "path", "url"),
    [
        ("shared/a.db", "/srv/shop/shared/a.db", "sqlite:////srv/shop/shared/a.db"),
        ("/var/a b?%.db", "/var/a b?%.db", "sqlite:////var/a b%3F%25.db"),
        ("sqlite:///a.db", "/srv/shop/a.db", "sqlite:////srv/shop/a.db"),
        ("sqlite+aiosqlite:////a.db?x=1", "/a.db", "sqlite+aiosqlite:////a.db?x=1"),
    ],
)
def test_sqlite_paths(source: str, path: str, url: str) -> None:
    """A relative path is relative to the root, for us and for the migration."""
    database = SQLite(source)
    assert database.resolve(read, LAYOUT, "h").place.name == path
    assert database.environment(read, LAYOUT) == {"DATABASE_URL": url}
