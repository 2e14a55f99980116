"""Brings single files to `shared/` and from there on a host that has SFTP and no shell."""

import io
import posixpath
from collections.abc import Iterator
from datetime import UTC, datetime
from secrets import token_hex

from deploykit.engine.sftp_only.session import SftpSession
from deploykit.errors import TransferFailed
from deploykit.files import Files, Stat

__all__ = ["fetch", "listed", "send"]

SETGID = 0o2000


def send(session: SftpSession, content: bytes, path: str, kept: str) -> str:
    """
    Bring *content* to *path*: `new`, `replaced` or `same`.

    Args:
        session: the host.
        content: of the file.
        path: absolute, under `shared/`.
        kept: where the old version goes, if there is another.

    Raises:
        TransferFailed: it is not there now, whole; the old version is.
    """
    files, shared = session.files, session.layout.shared
    folder, name = posixpath.split(path)
    inside = posixpath.relpath(folder, shared)
    steps = [] if inside == "." else inside.split("/")
    folders = [posixpath.join(shared, *steps[:depth]) for depth in range(len(steps) + 1)]
    known = files.look([*folders, path])
    # A folder that is setgid to a group of its own shares its files with that group.
    grouped = shared in known and known[shared].mode & SETGID
    inner, mode = (0o2770, 0o640) if grouped else (0o750, 0o600)
    files.mkdirs((one, inner) for one in folders if one not in known)
    old = known.get(path)
    if old is not None and old.kind == "dir":
        raise TransferFailed(
            f"{session.name}: {path} cannot be written: there is a directory of that name",
            state="what was there before is there still",
        )
    before = files.read([path])[path] if old else None
    if old and before == content and old.mode == mode:
        return "same"
    if before is not None:
        _keep(files, session.layout.private, before, kept)
    part = posixpath.join(folder, f".{name}.part-{token_hex(4)}")
    try:
        files.write(io.BytesIO(content), part, mode)
        files.rename(part, path)
    finally:
        files.remove([part])
    return "new" if before is None else "replaced"


def fetch(session: SftpSession, path: str) -> bytes | None:
    """Return the content of *path*; None if it is not there."""
    return session.files.read([path]).get(path)


def listed(session: SftpSession) -> Iterator[tuple[str, Stat, str]]:
    """Yield everything under `shared/`: its path there, what it is, and when it was changed."""
    files, left = session.files, [""]
    while left:
        folder = left.pop()
        names = files.names(posixpath.join(session.layout.shared, folder)) or []
        paths = {posixpath.join(session.layout.shared, folder, name): name for name in names}
        for path, stat in files.look(paths).items():
            inside = posixpath.join(folder, paths[path])
            if stat.kind == "dir":
                left.append(inside)
            at = datetime.fromtimestamp(stat.mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            yield inside, stat, at


def _keep(files: Files, private: str, content: bytes, kept: str) -> None:
    folder = posixpath.relpath(posixpath.dirname(kept), private)
    steps = folder.split("/")
    files.mkdirs(
        (posixpath.join(private, *steps[: depth + 1]), 0o700) for depth in range(len(steps))
    )
    files.write(io.BytesIO(content), kept, 0o600)
