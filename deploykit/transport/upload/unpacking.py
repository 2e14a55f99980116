"""
What a host does with an archive: unpacks it, and reads each file again when it is there.

It reads while more is on its way, so that little is left to read when all has come. What it says of
a file counts if it is what the manifest says: then the file is whole. One that it read too early,
or under a name that `tar` does not print as it is, is read once more at the end.
"""

from __future__ import annotations

from collections.abc import Iterable

from deploykit.release import Entry
from deploykit.shell import fill

__all__ = ["SUMS", "unpacking", "verified"]

FILES = 300  # that are read together: to start a program takes as long as to read some

# openssl is several times as fast as sha256sum where that does not use the processor's own SHA.
SUMS = """if command -v openssl >/dev/null; then xargs -0 {0} openssl dgst -sha256 -r; \
else xargs -0 {0} sha256sum {1}; fi"""


def unpacking(folder: str, unpack: str) -> str:
    """
    Return the command that unpacks an archive, and prints the sums of files that were in it.

    Its exit code is tar's, whatever becomes of the reading.

    Args:
        folder: absolute path; made if it is not there, for nobody else to enter.
        unpack: what the archive goes through before; may be empty.
    """
    extract = f"{unpack} | tar -xvof -" if unpack else "tar -xvof -"
    # Whatever ends the reading, what tar prints must be taken, or that ends as well.
    read = f"{{ tr '\\n' '\\0' | {{ {SUMS.format(f'-n {FILES}', '')}; }}; cat >/dev/null; }}"
    return (
        fill("export LC_ALL=C; mkdir -pm 700 -- {0} && cd -- {0} && exec 3>&1 && ", folder)
        + f"exit $({{ {{ {extract}; echo $? >&4; }} | {read} 2>/dev/null >&3; }} 4>&1)"
    )


def verified(said: str, files: Iterable[Entry]) -> frozenset[str]:
    """
    Return which of *files* are whole.

    Args:
        said: what `unpacking` has printed.
        files: as they should be.
    """
    sums = {line[66:].removeprefix("./"): line[:64] for line in said.split("\n")}
    return frozenset(entry.path for entry in files if sums.get(entry.path) == entry.sha256)
