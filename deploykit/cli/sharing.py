"""Brings single files to `shared/` on the hosts, and from there."""

import hashlib
import io
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from deploykit.errors import ConfigurationError, TransferFailed
from deploykit.shell import fill

if TYPE_CHECKING:
    from deploykit.engine.fleet import Fleet
    from deploykit.engine.session import Session

__all__ = ["SharedFile", "checked_name", "fetch", "listed", "send", "write_private"]

MISSING = 44
FAILURES = {
    41: "there is a directory of that name",
    42: "no right to write there",
    43: "what arrived is not what was sent (disk full?)",
    45: "the old version cannot be kept (disk full?)",
}

# A folder that is setgid to a group of its own shares its files with that group.
PREPARE = """
umask 027
mkdir -p -- {shared} || exit 42
if [ -g {shared} ]; then umask 007; fi
mkdir -p -- {folder} 2>/dev/null && [ -w {folder} ] || exit 42
[ ! -d {target} ] || exit 41
umask 077
: >{part} || exit 42
"""
FINISH = """
trap 'rm -f -- {part}' EXIT
have=$(sha256sum <{part})
[ "${{have%% *}}" = {digest} ] || exit 43
if [ -g {shared} ]; then chmod 640 -- {part}; else chmod 600 -- {part}; fi
if [ -e {target} ]; then
  old=$(sha256sum <{target})
  if [ "${{old%% *}}" = {digest} ] && [ "$(stat -c %a {target})" = "$(stat -c %a {part})" ]; then
    echo same; exit 0
  fi
  umask 077
  mkdir -p -- {versions} && cp -- {target} {kept} && chmod 600 -- {kept} || exit 45
  word=replaced
else
  word=new
fi
sync {part} 2>/dev/null || sync
mv -f -- {part} {target} || exit 42
sync {folder} 2>/dev/null || sync
echo $word
"""
LIST = """
cd -- {shared} 2>/dev/null || exit 0
find . -mindepth 1 -exec stat --printf '%f\\t%s\\t%Y\\t%U\\t%G\\t%n\\0' -- {{}} +
"""


@dataclass(frozen=True)
class SharedFile:
    """One path under `shared/` on one host."""

    host: str
    path: str
    kind: str
    size: int
    mode: str
    owner: str
    group: str
    modified: str


def checked_name(name: str) -> str:
    """
    Return *name* as a path under `shared/`.

    Raises:
        ConfigurationError: it leads elsewhere, or names no file.
    """
    path = posixpath.normpath(name.removeprefix("shared/")) if name else ""
    if path in ("", ".") or name.endswith("/") or path.startswith(("/", "..")) or "\0" in path:
        raise ConfigurationError(f"{name!r} is not the name of a file under shared/")
    return path


def send(fleet: "Fleet", content: bytes, name: str) -> dict[str, str]:
    """
    Bring *content* to `shared/` *name* on every host; return what that meant, by host.

    Raises:
        TransferFailed: a host where it is not there now, whole; the old version is.
    """
    for session in fleet.sessions.values():
        session.prepare()
    return fleet.each(partial(_send, content=content, name=name))


def fetch(session: "Session", name: str, environment: str) -> bytes:
    """
    Return the content of `shared/` *name* on one host.

    Raises:
        ConfigurationError: it is not there.
        TransferFailed: it cannot be read.
    """
    path = posixpath.join(session.layout.shared, name)
    content = _content(session, path)
    if content is None:
        raise ConfigurationError(
            f"{path} is not on {session.name}",
            then=f"see what is: deploykit shared list {environment}",
        )
    return content


def listed(session: "Session") -> tuple[SharedFile, ...]:
    """Return everything under `shared/` on one host, sorted by path."""
    from deploykit.cli import sharing_sftp
    from deploykit.engine.sftp_only.session import SftpSession

    if isinstance(session, SftpSession):
        found = [
            SharedFile(session.name, path, stat.kind, stat.size, f"{stat.mode:04o}", "", "", at)
            for path, stat, at in sharing_sftp.listed(session)
        ]
    else:
        answer = session.query(fill(LIST, shared=session.layout.shared)).output
        found = list(_parsed(session.name, answer))
    return tuple(sorted(found, key=lambda file: file.path))


def write_private(path: Path, content: bytes) -> None:
    """
    Write *content* to *path* on this machine, readable by nobody else from the first byte.

    Raises:
        ConfigurationError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            part.replace(path)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error


def _content(session: "Session", path: str) -> bytes | None:
    from deploykit.cli import sharing_sftp
    from deploykit.engine.session import EVAL
    from deploykit.engine.sftp_only.session import SftpSession

    if isinstance(session, SftpSession):
        return sharing_sftp.fetch(session, path)
    script = fill("[ -e {0} ] || exit 44\nexec cat -- {0}\n", path)
    done = session.transport.execute(EVAL, script.encode(), timeout=None)
    if done.exit_code == MISSING:
        return None
    if done.exit_code:
        said = done.stderr.decode(errors="replace").strip()
        raise TransferFailed(f"{session.name}: {path} cannot be read: {said}")
    return done.stdout


def _send(session: "Session", content: bytes, name: str) -> str:
    from deploykit.cli import sharing_sftp
    from deploykit.engine.sftp_only.session import SftpSession

    lay = session.layout
    target = posixpath.join(lay.shared, name)
    folder, base = posixpath.split(target)
    kept = posixpath.join(lay.private, "shared-versions", f"{name}.{_now()}")
    if isinstance(session, SftpSession):
        return _told(sharing_sftp.send(session, content, target, kept), content, kept)
    part = posixpath.join(folder, f".{base}.part-{token_hex(4)}")
    names = {"shared": lay.shared, "folder": folder, "target": target, "part": part}
    _step(session, fill(PREPARE, **names), name)
    session.transport.insist(lambda to: to.files().write(io.BytesIO(content), part, 0o600))
    digest = hashlib.sha256(content).hexdigest()
    finish = fill(FINISH, digest=digest, kept=kept, versions=posixpath.dirname(kept), **names)
    return _told(_step(session, finish, name), content, kept)


def _told(word: str, content: bytes, kept: str) -> str:
    return {
        "new": f"is there now ({len(content)} bytes)",
        "replaced": f"replaced ({len(content)} bytes); the old version is {kept}",
        "same": "was the same already",
    }.get(word, word)


def _step(session: "Session", script: str, name: str) -> str:
    done = session.query(script, check=False)
    if not done.ok:
        why = FAILURES.get(done.exit_code, done.errors.strip())
        raise TransferFailed(
            f"{session.name}: shared/{name} cannot be written: {why}",
            state="what was there before is there still",
        )
    return done.output.strip()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def _parsed(host: str, answer: str) -> Iterator[SharedFile]:
    for line in answer.split("\0"):
        if not line:
            continue
        mode, size, seconds, owner, group, path = line.split("\t", 5)
        bits = int(mode, 16)
        modified = datetime.fromtimestamp(int(seconds), UTC)
        yield SharedFile(
            host=host,
            path=path.removeprefix("./"),
            kind=_kind(bits),
            size=int(size),
            mode=f"{stat.S_IMODE(bits):04o}",
            owner=owner,
            group=group,
            modified=modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )


def _kind(bits: int) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(bits), "other")
