"""The known_hosts file: reading the forms that OpenSSH writes, and appending to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit.cli.known_hosts import Known, add, known

if TYPE_CHECKING:
    from pathlib import Path

HASHED = (
    "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg="  # 192.168.1.61, by ssh-keygen
)


def test_plain_and_hashed_names(tmp_path: Path) -> None:
    """A host is found under one of several names, and under its hashed name."""
    file = tmp_path / "known_hosts"
    file.write_text(f"# a comment\n\na,b ssh-rsa KEY1 comment\n{HASHED} ssh-ed25519 KEY2\nbroken\n")
    assert known(file, "b") == (Known("ssh-rsa", "KEY1", 3),)
    assert known(file, "192.168.1.61") == (Known("ssh-ed25519", "KEY2", 4),)
    assert known(file, "c") == ()


def test_no_file_knows_nobody(tmp_path: Path) -> None:
    """A file that is not there holds no key."""
    assert known(tmp_path / "nothing", "a") == ()


def test_added_for_the_owner_alone(tmp_path: Path) -> None:
    """The file and its folder are made for their owner alone."""
    file = tmp_path / ".ssh" / "known_hosts"
    add(file, "[a]:2222", "ssh-ed25519", "KEY")
    assert file.read_text() == "[a]:2222 ssh-ed25519 KEY\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_added_after_a_line_without_an_end(tmp_path: Path) -> None:
    """A last line without its end of line is not glued to the new one."""
    file = tmp_path / "known_hosts"
    file.write_text("a ssh-rsa KEY1")
    add(file, "b", "ssh-rsa", "KEY2")
    assert file.read_text() == "a ssh-rsa KEY1\nb ssh-rsa KEY2\n"
