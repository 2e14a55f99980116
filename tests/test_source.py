"""Reading a source tree: what is sent, what is left out, and what cannot be sent."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploykit.errors import ConfigurationError
from deploykit.source import IGNORE_FILE, read_tree

AWKWARD = ("-dash", "it's a\nname", "a b", 'q"uote', "üß\u2028", "$HOME;rm", "*", "\x01bell")


def paths(folder: Path, *exclude: str) -> set[str]:
    """Return the paths that would be sent."""
    return {entry.path for entry in read_tree(folder, exclude).entries}


def test_a_file_is_known_by_its_bytes_and_mode(tmp_path: Path) -> None:
    """Size, mode and sha256 stand in the manifest; an empty file is a file."""
    (tmp_path / "run.sh").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o750)
    (tmp_path / "empty").touch()
    entries = {entry.path: entry for entry in read_tree(tmp_path).entries}
    run = entries["run.sh"]
    assert (run.kind, run.mode, run.size) == ("file", 0o750, 10)
    assert run.sha256 == hashlib.sha256(b"#!/bin/sh\n").hexdigest()
    assert (entries["empty"].size, entries["empty"].kind) == (0, "file")


@pytest.mark.parametrize("name", AWKWARD)
def test_any_name_can_be_sent(tmp_path: Path, name: str) -> None:
    """A name is never read as a pattern, an option or a line."""
    (tmp_path / name).write_text("x")
    assert paths(tmp_path) == {name}


def test_what_nobody_wants_on_a_server_stays(tmp_path: Path) -> None:
    """The defaults leave out version control, secrets, caches and local databases."""
    for name in (".git/config", ".env", ".env.local", "a/__pycache__/x.pyc", "db.sqlite3-wal"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "a" / "app.py").touch()
    assert paths(tmp_path) == {"a", "a/app.py"}


def test_patterns_add_and_bring_back(tmp_path: Path) -> None:
    """Later patterns win: the project's own over the defaults, the stage's over both."""
    for name in (".env.example", "notes.md", "keep.md"):
        (tmp_path / name).touch()
    (tmp_path / IGNORE_FILE).write_text("*.md\n!.env.example\n")
    assert paths(tmp_path, "!keep.md", IGNORE_FILE) == {".env.example", "keep.md"}


def test_a_link_inside_is_sent_as_a_link(tmp_path: Path) -> None:
    """Also one to a folder, to nowhere, and to itself: none is followed."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    for name, target in {"a": "folder", "b": "nowhere", "loop": "loop"}.items():
        (tmp_path / name).symlink_to(target)
    entries = {entry.path: entry for entry in read_tree(tmp_path).entries}
    assert {name: entries[name].target for name in ("a", "b", "loop")} == {
        "a": "folder",
        "b": "nowhere",
        "loop": "loop",
    }
    assert "a/file" not in entries


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "folder/../../outside"])
def test_a_link_out_of_the_source_is_refused(tmp_path: Path, target: str) -> None:
    """It would point to something else on a host; the error names link and target."""
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    (source / "link").symlink_to(target)
    with pytest.raises(ConfigurationError, match="link links out of the source") as refused:
        read_tree(source)
    assert repr(target) in refused.value.what


def test_a_link_out_by_way_of_a_link_is_refused(tmp_path: Path) -> None:
    """What counts is where it ends."""
    source = tmp_path / "source"
    (source / "in").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (source / "up").symlink_to("in/../..")
    with pytest.raises(ConfigurationError, match="links out of the source"):
        read_tree(source)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A fifo would block for ever, a device would never end; excluding one is the way out."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="pipe is neither file, folder nor link"):
        read_tree(tmp_path)
    assert paths(tmp_path, "pipe") == {"file"}


def test_a_device_is_refused(tmp_path: Path) -> None:
    """A device file in the source is a mistake, not gigabytes of zeroes."""
    os.mknod(tmp_path / "zero", 0o600 | 0o020000, os.makedev(1, 5))
    with pytest.raises(ConfigurationError, match="zero is neither file"):
        read_tree(tmp_path)


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    """Folders alone are nothing to deploy, and a build that was forgotten is the usual reason."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="nothing to send") as refused:
        read_tree(tmp_path)
    assert "built" in refused.value.then
    with pytest.raises(ConfigurationError, match="is not a folder"):
        read_tree(tmp_path / "absent")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """SFTP and journals are UTF-8; the error can be printed all the same."""
    (Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))).touch()
    with pytest.raises(ConfigurationError, match="not valid UTF-8") as refused:
        read_tree(tmp_path)
    assert str(refused.value).encode()


@pytest.mark.parametrize("pattern", ["!", "\\"])
def test_a_pattern_that_is_none_is_refused(tmp_path: Path, pattern: str) -> None:
    """A slip in `.deployignore` is named with the file."""
    (tmp_path / "file").touch()
    (tmp_path / IGNORE_FILE).write_text(f"{pattern}\n")
    with pytest.raises(ConfigurationError, match=IGNORE_FILE):
        read_tree(tmp_path)


def test_a_folder_without_right_to_read_is_refused(tmp_path: Path) -> None:
    """Somebody else's folder in the project ends in a sentence, not in a traceback."""
    project = Path(__file__).parents[1]
    (tmp_path / "theirs").mkdir(mode=0o700)
    (tmp_path / "file").touch()
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    script = (
        "import os, sys; from pathlib import Path; import deploykit.source as s; os.setuid(65534)\n"
        "try: s.read_tree(Path(sys.argv[1]))\nexcept s.ConfigurationError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "theirs" in done.stdout
    assert "Permission denied" in done.stdout, done.stderr
