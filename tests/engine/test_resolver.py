"""Secrets are read where they are, stay in memory, and are scrubbed from then on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploykit.engine.resolver import Resolver, read_env
from deploykit.errors import SecretMissing
from deploykit.layout import Layout
from deploykit.scrub import Scrubber
from deploykit.secrets import Secret


@dataclass
class Files:
    """A host, as far as reading its files goes."""

    files: Mapping[str, str]
    name: str = "web1"
    layout: Layout = field(default_factory=lambda: Layout("/srv/shop"))
    reads: int = 0

    def read(self, path: str) -> str | None:
        """Return a file's text, or None."""
        self.reads += 1
        return self.files.get(path)


@pytest.fixture
def scrubber() -> Scrubber:
    """Return one that knows nothing yet."""
    return Scrubber()


@pytest.fixture
def resolver(tmp_path: Path, scrubber: Scrubber) -> Resolver:
    """Return a resolver for an environment called production."""
    return Resolver(
        "production", tmp_path, {"postgres://u:***@h/d": "postgres://u:pw1@h/d"}, scrubber
    )


def test_a_variable_of_the_operator_s(
    resolver: Resolver, scrubber: Scrubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read when needed and scrubbed at once; when missing, the way to set it is named."""
    monkeypatch.setenv("DB", "hunter2")
    assert resolver.secret(Secret.from_env("DB")) == "hunter2"
    assert scrubber.text("so hunter2") == "so ***"
    monkeypatch.setenv("DB", "")
    with pytest.raises(SecretMissing, match="DB is not set") as missing:
        resolver.secret(Secret.from_env("DB"))
    assert "export DB=" in missing.value.then


def test_a_file_of_the_operator_s(resolver: Resolver, tmp_path: Path) -> None:
    """Whole and stripped, or one variable of it; relative to the project."""
    (tmp_path / "key").write_text("hunter2\n")
    (tmp_path / ".env").write_text("A=1\nDB='x $A y'\n")
    assert resolver.secret(Secret.from_file("key")) == "hunter2"
    assert resolver.secret(Secret.from_file(".env", "DB")) == "x $A y"
    with pytest.raises(SecretMissing, match="has no variable NO"):
        resolver.secret(Secret.from_file(".env", "NO"))
    with pytest.raises(SecretMissing, match="absent cannot be read"):
        resolver.secret(Secret.from_file("absent"))


def test_a_file_that_is_no_text_leaks_nothing(resolver: Resolver, tmp_path: Path) -> None:
    """The error says why, and carries no byte of it, not even in the error behind it."""
    (tmp_path / "key").write_bytes(b"hunter2\xff")
    with pytest.raises(SecretMissing, match="not UTF-8") as missing:
        resolver.secret(Secret.from_file("key"))
    assert missing.value.__cause__ is None


def test_a_file_on_a_host_is_read_once(resolver: Resolver, scrubber: Scrubber) -> None:
    """Only what looks secret in it is scrubbed; the rest stays readable."""
    host = Files({"/srv/shop/shared/.env": "DB=postgres://u:hunter2@h/d\nPORT=8000\nTOKEN=abcdef"})
    secret = Secret.on_host("shared/.env", "DB")
    assert resolver.secret(secret, host) == "postgres://u:hunter2@h/d"
    assert resolver.secret(secret, host)
    assert host.reads == 1
    assert scrubber.text("hunter2 abcdef 8000") == "*** *** 8000"


def test_what_is_missing_on_a_host_names_the_command(resolver: Resolver) -> None:
    """`shared put` brings the file, with its name under `shared/`."""
    secret = Secret.on_host("shared/.env", "DB")
    with pytest.raises(SecretMissing, match=r"/srv/shop/shared/\.env is not on web1") as missing:
        resolver.secret(secret, Files({}))
    assert "deploykit shared put production .env" in missing.value.then
    with pytest.raises(SecretMissing, match="has no variable DB"):
        resolver.secret(secret, Files({"/srv/shop/shared/.env": "A=1"}))
    with pytest.raises(SecretMissing, match="before one is reached"):
        resolver.secret(secret)


def test_a_literal_is_known_again_by_its_masked_form(resolver: Resolver) -> None:
    """A journal has only that; `deploy.py` has the value, or the error says it is gone."""
    journalled = Secret("literal", name="postgres://u:***@h/d")
    assert resolver.secret(journalled) == "postgres://u:pw1@h/d"
    with pytest.raises(SecretMissing, match=r"stood in deploy\.py"):
        resolver.secret(Secret("literal", name="mysql://u:***@h/d"))


def test_nothing_is_interpolated() -> None:
    """A password with a dollar sign is that password."""
    read = read_env("A=1\nexport B=\"pa$A${A}\"\nC='x'\n# D=1\nE\n")
    assert read == {"A": "1", "B": "pa$A${A}", "C": "x"}
