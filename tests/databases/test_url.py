"""Database URLs as people have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.databases.url import DatabaseUrl, Place, parse
from deploykit.errors import ConfigurationError

BOTH = ("postgres", "postgresql", "mysql", "mariadb", "sqlite")


def read(text: str) -> DatabaseUrl:
    """Parse a URL of any scheme."""
    return parse(text, BOTH, "Postgres")


@pytest.mark.parametrize(
    ("text", "user", "password", "hosts", "port", "name"),
    [
        ("postgres://app:pw@db:5433/shop", "app", "pw", ("db",), 5433, "shop"),
        ("postgresql+asyncpg://app@db/shop", "app", "", ("db",), 0, "shop"),
        ("POSTGRESQL+psycopg2://app:@db/shop?sslmode=require", "app", "", ("db",), 0, "shop"),
        ("postgresql://a%40b:p%40%2F%3A%25@db/s%20p", "a@b", "p@/:%", ("db",), 0, "s p"),
        ("postgresql://app:p@ss:w/o?rd@db/shop", "app", "p@ss:w/o?rd", ("db",), 0, "shop"),
        ("postgresql://app:pw@/shop?host=/run/pg", "app", "pw", ("/run/pg",), 0, "shop"),
        ("postgresql:///shop", "", "", (), 0, "shop"),
        ("postgresql://app@[::1]:5433/shop", "app", "", ("::1",), 5433, "shop"),
        ("postgresql://app@one:1,two:2/shop", "app", "", ("one", "two"), 1, "shop"),
        ("postgresql://%2Frun%2Fpg/shop", "", "", ("/run/pg",), 0, "shop"),
        ("postgresql://db/shop?application_name=a@b", "", "", ("db",), 0, "shop"),
        ("postgres://u:p@db/shop?application_name=a@b", "u", "p", ("db",), 0, "shop"),
        ("mysql+pymysql://app:pw@db/shop?charset=utf8mb4", "app", "pw", ("db",), 0, "shop"),
        ("mariadb://app@db/shop?unix_socket=/run/my", "app", "", ("/run/my",), 0, "shop"),
        ("sqlite:///shop.db", "", "", (), 0, "shop.db"),
        ("sqlite:////srv/a@b/shop.db", "", "", (), 0, "/srv/a@b/shop.db"),
        ("sqlite+aiosqlite:///shop.db?cache=shared", "", "", (), 0, "shop.db"),
    ],
)  # fmt: skip
def test_urls(
    text: str, user: str, password: str, hosts: tuple[str, ...], port: int, name: str
) -> None:
    """Every part of a URL is found, decoded, and not mistaken for another."""
    url = read(text)
    found = (url.user, url.password, url.hosts, url.port, url.name)
    assert found == (user, password, hosts, port, name)


def test_options() -> None:
    """What stands in the query is kept by name."""
    url = read("postgres://h/d?sslmode=verify-full&sslrootcert=/a%20b.pem")
    assert url.options == {"sslmode": "verify-full", "sslrootcert": "/a b.pem"}


@pytest.mark.parametrize(
    "text", ["", "shop", "oracle://u:hidden@h/d", "hidden", "postgres://u:hidden@h:port/d"]
)
def test_refusals_do_not_show_the_url(text: str) -> None:
    """A URL that cannot be used is refused without its password."""
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert "hidden" not in str(caught.value)
    assert "Postgres" in str(caught.value)


def test_password_has_no_repr() -> None:
    """A parsed URL prints without its password."""
    assert "pw" not in repr(read("postgres://u:pw@h/d?password=pw"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "", "LOCALHOST"])
def test_loopback_is_the_host_itself(host: str) -> None:
    """A URL that means its own host names that host, with the engine's port."""
    assert read(f"postgres://u@{host}/d").place("db1", 5432) == Place("db1", 5432, "d")


def test_a_server_elsewhere_is_itself() -> None:
    """A server of its own is the same from every host, however it is spelt."""
    assert read("postgres://u@DB.example:6432/d").place("web1", 5432) == Place(
        "db.example", 6432, "d"
    )


@given(
    user=st.text(min_size=1),
    password=st.text(),
    name=st.text(min_size=1).filter(lambda name: "/" not in name),
    port=st.integers(0, 65535),
)
def test_what_is_written_is_read_again(user: str, password: str, name: str, port: int) -> None:
    """Whatever its parts contain, a URL that we write is read as those parts."""
    url = DatabaseUrl("postgresql", "psycopg", user, password, ("db",), port, name)
    assert read(url.text()) == url
