"""Secrets say where a value is and never what it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.errors import ConfigurationError
from deploykit.secrets import Secret, mask_url

PASSWORDS = st.text("abcxyz/[]@:#?%&;= ü", min_size=8)


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (Secret.from_env("DB"), "Secret(environment DB)"),
        (Secret.from_file("key.pem"), "Secret(file key.pem)"),
        (Secret.from_file(".env", "DB"), "Secret(file .env DB)"),
        (Secret.on_host("shared/.env", "DB"), "Secret(host shared/.env DB)"),
        (Secret.literal("postgres://u:hunter2@h/db"), "Secret(deploy.py postgres://u:***@h/db)"),
    ],
)
def test_a_secret_is_told_by_its_place(secret: Secret, said: str) -> None:
    """Errors and logs can name it."""
    assert str(secret) == said


@given(PASSWORDS)
def test_a_literal_never_shows_its_password(password: str) -> None:
    """Neither `str` nor `repr` holds it, though its `/` or `[` was never escaped."""
    secret = Secret.literal(f"postgres://shop:{password}@db.example/shop")
    assert secret.value.endswith("@db.example/shop")
    assert password not in str(secret) + repr(secret)
    assert "db.example" in str(secret)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgres://u:p@h:5432/db", "postgres://u:***@h:5432/db"),
        ("postgres://u:pa/ss@h/db", "postgres://u:***@h/db"),
        ("postgres://u:p@ss@h/db", "postgres://u:***@h/db"),
        ("postgres://u:[p@h/db", "postgres://u:***@h/db"),
        ("redis://:p@h/0", "redis://:***@h/0"),
        ("postgresql+asyncpg://u:p@h/db?password=p", "postgresql+asyncpg://u:***@h/db"),
        ("sqlite:////srv/shop/db.sqlite3", "sqlite:////srv/shop/db.sqlite3"),
        ("hunter2", "***"),
        ("a b://c", "***"),
    ],
)
def test_a_url_is_masked(url: str, masked: str) -> None:
    """What stays is enough to know the database by, and nothing else of it."""
    assert mask_url(url) == masked


@pytest.mark.parametrize("name", ["", "A=B", "A\0B"])
def test_what_is_no_name_is_refused(name: str) -> None:
    """A typo shows when `deploy.py` is read."""
    with pytest.raises(ConfigurationError, match="not the name of a variable"):
        Secret.from_env(name)
    with pytest.raises(ConfigurationError, match="not the name of a variable"):
        Secret.on_host("shared/.env", name)
