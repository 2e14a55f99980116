"""The known_hosts file: which keys of a host stand there, and how one more gets in."""

import base64
import hmac
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Known", "add", "known"]

HASHED = "|1|"


@dataclass(frozen=True)
class Known:
    """
    A key that stands in a known_hosts file.

    Args:
        kind: such as `ssh-ed25519`.
        key: in base64, as it stands there.
        line: its number.
    """

    kind: str
    key: str
    line: int


def known(file: Path, name: str) -> tuple[Known, ...]:
    """Return the keys of the host called *name* in *file*; none if there is no such file."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    return tuple(_matching(text, name))


def add(file: Path, name: str, kind: str, key: str) -> None:
    """
    Append a key to *file*, in one piece; only its owner may read it and its folder.

    Raises:
        OSError: it cannot be written.
    """
    if not file.parent.exists():
        file.parent.mkdir(mode=0o700, parents=True)
    number = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(number, "r+b", buffering=0) as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(size - 1, 0))
        torn = opened.read(1) not in (b"", b"\n")
        line = f"{name} {kind} {key}\n".encode()
        opened.write(b"\n" + line if torn else line)
        os.fsync(number)


def _matching(text: str, name: str) -> Iterator[Known]:
    for number, line in enumerate(text.splitlines(), 1):
        names, kind, key, *_ = (*line.split(), "", "", "")
        if key and not names.startswith(("#", "@")) and _names(names, name):
            yield Known(kind, key, number)


def _names(field: str, name: str) -> bool:
    """Return whether the first field of a line is for *name*; hashed names are compared so."""
    if not field.startswith(HASHED):
        return name in field.split(",")
    try:
        salt, digest = (base64.b64decode(part) for part in field[len(HASHED) :].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
