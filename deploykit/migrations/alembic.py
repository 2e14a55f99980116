"""
Alembic's scripts, read where they were packed: nothing of the application is imported.

`Config` and `ScriptDirectory` say where the scripts are, `RevisionMap` orders them; the revision
files themselves are parsed and never executed, and `env.py` is not even opened.
"""

from __future__ import annotations

import configparser
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from posixpath import basename, dirname, join, normpath
from typing import TYPE_CHECKING, Any

from deploykit.errors import ConfigurationError
from deploykit.migrations.revision_file import RevisionFile, read_revision
from deploykit.stage import Pack

if TYPE_CHECKING:
    from alembic.script.revision import RevisionMap

__all__ = ["Scripts", "read_scripts"]


@dataclass(frozen=True)
class Scripts:
    """
    The revisions of one `alembic.ini`.

    Args:
        ini: its path, relative to the packed source.
        revisions: by id.
        map: Alembic's own order of them.
    """

    ini: str
    revisions: dict[str, RevisionFile]
    map: RevisionMap

    @property
    def folder(self) -> str:
        """Return the ini file's folder, relative to the packed source; empty for its top."""
        return dirname(self.ini)

    @property
    def file(self) -> str:
        """Return the ini file's name."""
        return basename(self.ini)

    def head(self) -> str:
        """
        Return the one head; empty where there are no revisions.

        Raises:
            ConfigurationError: there are several.
        """
        heads = sorted(self.map.heads)
        if len(heads) > 1:
            named = "; ".join(self.revisions[head].line for head in heads)
            raise ConfigurationError(
                f"{self.ini} has {len(heads)} heads: {named}",
                state="nothing was touched",
                then=f"join them, and commit the result: alembic -c {self.file} merge heads",
            )
        return heads[0] if heads else ""

    def pending(self, present: tuple[str, ...]) -> tuple[RevisionFile, ...]:
        """
        Return what an upgrade from *present* to the head runs, in order.

        Raises:
            ConfigurationError: *present* is unknown here, or there are several heads.
        """
        head = self.head()
        for revision in present:
            if revision not in self.revisions:
                raise ConfigurationError(
                    f"the database is at revision {revision}, which {self.ini} does not have",
                    state="nothing was touched",
                    then="deploy a source that has it; was a branch with a newer migration live?",
                )
        if not head or present == (head,):
            return ()
        steps = self.map.iterate_revisions(head, present or "base", implicit_base=True)
        return tuple(self.revisions[step.revision] for step in reversed(list(steps)))


def read_scripts(packs: Iterable[Pack], ini: str) -> Scripts:
    """
    Read the revisions of *ini* in the pack that has it.

    Raises:
        ConfigurationError: no pack has it, or it and its scripts cannot be read.
    """
    path = normpath(ini)
    for pack in packs:
        if any(entry.path == path for entry in pack.manifest.entries):
            folders, recursive = _locations(pack, path)
            files = _files(pack, folders, recursive)
            revisions = _by_id([read_revision(pack.source / file, file) for file in files])
            return Scripts(path, revisions, _ordered(path, revisions))
    raise ConfigurationError(
        f"{ini} is not among what is sent to the hosts",
        state="nothing was touched",
        then="Migrate's path is relative to the source of Transfer, and must not be excluded there",
    )


def _locations(pack: Pack, ini: str) -> tuple[list[str], bool]:
    """Return the folders of the scripts, relative to the source, and whether those below count."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    here = pack.source.resolve() / dirname(ini)
    options: dict[str, Any] = {}
    if (here / "pyproject.toml").is_file() and hasattr(Config, "toml_alembic_config"):
        options["toml_file"] = here / "pyproject.toml"  # since 1.16
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = Config(str(pack.source.resolve() / ini), **options)
            location = _option(config, "script_location")
            # Given in full, lest the working directory or an import decides where it is.
            config.set_main_option(
                "script_location", str(_under(here, location)).replace("%", "%%")
            )
            config.set_main_option("prepend_sys_path", "")
            scripts = ScriptDirectory.from_config(config)
    except (CommandError, configparser.Error, OSError, ValueError) as error:
        raise ConfigurationError(
            f"{ini} cannot be used: {error}", state="nothing was touched"
        ) from error
    folders = [str(place) for place in scripts.version_locations or [join(scripts.dir, "versions")]]
    return [_relative(pack, ini, _under(here, folder)) for folder in folders], bool(
        scripts.recursive_version_locations
    )


def _option(config: Any, name: str) -> str:
    read = getattr(config, "get_alembic_option", None) or config.get_main_option
    value = read(name)
    if not value:
        raise ValueError(f"it has no {name}")
    return str(value)


def _under(here: Path, location: str) -> Path:
    """Return the folder that *location* means: a path, or `package:folder` below the ini file."""
    package, colon, folder = location.partition(":")
    if colon and not Path(location).is_absolute():
        return here / package.replace(".", "/") / folder
    return here / location


def _relative(pack: Pack, ini: str, folder: Path) -> str:
    try:
        return folder.resolve().relative_to(pack.source.resolve()).as_posix()
    except ValueError:
        raise ConfigurationError(
            f"{ini} takes its scripts from {folder}, which is not sent to the hosts",
            state="nothing was touched",
            then="keep the scripts below the source of Transfer; paths may use %(here)s",
        ) from None


def _files(pack: Pack, folders: list[str], recursive: bool) -> list[str]:
    """Return the paths of all revision files, each once."""
    found = {}
    for folder in folders:
        prefix = "" if folder == "." else join(folder, "")
        for entry in pack.manifest.entries:
            path = entry.path
            below = path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])
            script = path.endswith(".py") and not basename(path).startswith((".#", "__init__"))
            if below and script and entry.kind != "dir":
                found[path] = True
    return sorted(found)


def _by_id(files: list[RevisionFile]) -> dict[str, RevisionFile]:
    """Return the revisions by id; refuse doubled ids, and such as come after a missing one."""
    known: dict[str, RevisionFile] = {}
    for file in files:
        if file.id in known:
            raise ConfigurationError(
                f"{file.path} and {known[file.id].path} both are revision {file.id}",
                state="nothing was touched",
            )
        known[file.id] = file
    labels = {label for file in files for label in file.labels}
    for file in files:
        for other in (*file.down, *file.depends_on):
            if other not in known and not (other in file.depends_on and other in labels):
                raise ConfigurationError(
                    f"{file.path} comes after revision {other}, which is missing",
                    state="nothing was touched",
                )
    return known


def _ordered(ini: str, revisions: dict[str, RevisionFile]) -> RevisionMap:
    from alembic.script.revision import Revision, RevisionError, RevisionMap

    def generate() -> list[Revision]:
        return [
            Revision(file.id, file.down or None, file.depends_on or None, file.labels or None)
            for file in revisions.values()
        ]

    try:
        ordered = RevisionMap(generate)
        _ = ordered.heads  # builds it
    except RevisionError as error:
        raise ConfigurationError(
            f"the revisions of {ini} have no order: {error}", state="nothing was touched"
        ) from error
    return ordered
