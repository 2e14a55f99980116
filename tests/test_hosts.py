"""Hosts as values."""

from __future__ import annotations

from typing import Any

import pytest

from deploykit import Host, Secret
from deploykit.errors import ConfigurationError


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "shop.example"),
        ({"port": 22}, "shop.example"),
        ({"port": 2222}, "shop.example:2222"),
        ({"port": 2222, "name": "web1"}, "web1"),
    ],
)
def test_a_host_has_a_label(options: dict[str, Any], label: str) -> None:
    """It is called by its name, else its address, else also its port."""
    assert Host("shop.example", **options).label == label


@pytest.mark.parametrize("address", ["", "-oProxyCommand=x", "a b", "a\nb"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """Nothing that `ssh` could take for an option gets through."""
    with pytest.raises(ConfigurationError, match="not an address"):
        Host(address)


def test_one_role_as_a_word_is_refused() -> None:
    """`roles="web"` would be the roles w, e and b."""
    with pytest.raises(ConfigurationError, match=r"a set of words, such as \{'web'\}"):
        Host("shop.example", roles="web")


def test_roles_are_a_set() -> None:
    """Any iterable of words will do."""
    assert Host("shop.example", roles=["web", "web", "db"]).roles == {"web", "db"}


def test_a_sudo_password_in_clear_is_refused() -> None:
    """It must be a secret, and the message does not repeat it."""
    with pytest.raises(ConfigurationError, match="sudo is a Secret") as refused:
        Host("shop.example", sudo="hunter2")  # type: ignore[arg-type]  # the mistake in question
    assert "hunter2" not in str(refused.value)
    assert Host("shop.example", sudo=Secret.from_env("SUDO")).sudo is not None
