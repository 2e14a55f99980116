"""The end of an upload: what the host copies, folders, links, modes, and every file verified."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from deploykit.errors import TransferFailed
from deploykit.release import Entry, Manifest
from deploykit.shell import fill
from deploykit.transport.upload.present import (
    WITHIN,
    WORDS,
    Copies,
    Place,
    copying,
    listed,
    printed,
)
from deploykit.transport.upload.unpacking import SUMS

__all__ = ["finish"]

ALL = "find . -type f -print0 | sort -z"
FEW = 1000  # files that are named one by one


def finish(
    place: Place,
    folder: str,
    final: str,
    manifest: Manifest,
    copies: Copies,
    like: str = "",
    whole: Collection[str] = (),
) -> frozenset[str]:
    """
    Complete *folder* and rename it to *final*, unless a file in it is not as it should be.

    Its manifest is written to *final*`.json`. May be done twice, when its answer is lost.

    Args:
        place: the host.
        folder: absolute path.
        final: absolute path, or the same one.
        manifest: what is to be in it.
        copies: what is to be copied into it.
        like: absolute path of the same manifest, if the host has it.
        whole: files that the host has read since they were written, and need not again.

    Returns:
        The files that differ or are not there; empty when all is done.

    Raises:
        TransferFailed: a folder, a link, a mode or the manifest cannot be made.
    """
    entries = manifest.entries
    files = sorted(manifest.files, key=lambda entry: entry.path.encode())
    end = "\n".join([*_modes(entries), *_rename(folder, final)])
    script = [
        "export LC_ALL=C",
        fill("old={}", f"{final}.old"),
        fill(
            '[ -d {0} ] || {{ [ -d "$old" ] && [ -d {1} ]; }} || mkdir -m 700 -- {0}', folder, final
        ),
        fill("cd -- {} 2>/dev/null || cd -- {} || exit 1", folder, final),
        *_folders_and_links(entries),
        *_written(manifest, f"{final}.json", like),
        *copying(copies),
        *_checking(files, whole),
        end,
    ]
    differ, _, there = _done(place, folder, script).partition("\0")
    if not differ:
        return frozenset()
    found = listed(there)
    wrong = frozenset(entry.path for entry in files if found.get(entry.path) != entry.sha256)
    if not wrong:  # there is more than there should be, or no such tool
        _done(place, folder, [fill("cd -- {} || exit 1", folder), end])
    return wrong


def _done(place: Place, folder: str, script: Sequence[str]) -> str:
    """Have *script* run; return what it prints."""
    done = place.query("\n".join(script), timeout=WITHIN, check=False)
    if not done.ok:
        said = done.errors.strip().split("\n")[0]
        raise TransferFailed(f"{place.name}: cannot complete {folder} (disk full?): {said}")
    return done.output


def _written(manifest: Manifest, path: str, like: str) -> Iterator[str]:
    """Give lines that write *manifest*; each of its own is in brackets, so none ends the text."""
    if like:
        yield fill("cp -- {} {} || exit 1", like, path)
    else:
        yield fill("(umask 077; cat >{}) <<'END' || exit 1", path)
        yield f"{manifest.to_json()}END"


def _checking(files: Sequence[Entry], whole: Collection[str]) -> Iterator[str]:
    """
    Give lines that end the script with the sums of all *files* if one that is not *whole* differs.

    Where files are the same as in the manifest, their sums are, too, and only one has to travel.
    """
    rest = [entry for entry in files if entry.path not in whole]
    if not rest and whole:
        return
    named = bool(whole) and len(rest) <= FEW
    yield "all=$({"
    yield from printed([entry.path for entry in rest]) if named else [ALL]
    yield f"}} | {{ {SUMS.format('', '-z')}; }} 2>/dev/null | sha256sum)"
    yield fill("case $all in {}*|{}*) ;; *)", *_sums(rest if named else files))
    yield "  printf 'differ\\0'; find . -type f -exec sha256sum -z {} +; exit ;; esac"


def _sums(files: Sequence[Entry]) -> Iterator[str]:
    """Give the sum of what `openssl`, and of what `sha256sum -z`, print of *files*."""
    lines: tuple[Callable[[Entry], str], ...] = (
        lambda entry: f"{entry.sha256} *./{entry.path}\n",
        lambda entry: f"{entry.sha256}  ./{entry.path}\0",
    )
    for line in lines:
        yield hashlib.sha256("".join(map(line, files)).encode()).hexdigest()


def _folders_and_links(entries: Sequence[Entry]) -> Iterator[str]:
    for folders in _words(entry for entry in entries if entry.kind == "dir"):
        yield fill("mkdir -p -- {} || exit 1", folders)
    for entry in entries:
        if entry.kind == "link":
            words = f"./{entry.path}", entry.target
            yield fill("[ -L {0} ] || ln -sn -- {1} {0} || exit 1", *words)


def _modes(entries: Sequence[Entry]) -> Iterator[str]:
    """
    Give lines that set the manifest's modes, whatever the umask was: folders last.

    All of a kind get its most frequent mode first, so that few names have to travel. Meanwhile
    nobody else may enter: a file may be meant for nobody else, and its mode comes after.
    """
    for kind, letter, usual in (("file", "f", 0o644), ("dir", "d", 0o755)):
        of_kind = [entry for entry in entries if entry.kind == kind]
        counted = Counter(e.mode for e in of_kind if e.mode & 0o500 == 0o500 or kind == "file")
        most = counted.most_common(1)[0][0] if counted else usual
        yield fill(
            "find . -mindepth 1 -type {} -exec chmod {} {{}} + || exit 1", letter, f"{most:o}"
        )
        # A folder that nobody may enter comes after what is in it.
        others = {entry.mode for entry in of_kind} - {most}
        for mode in sorted(others, key=lambda mode: not mode & 0o100):
            for paths in _words(entry for entry in reversed(of_kind) if entry.mode == mode):
                yield fill("chmod {} -- {} || exit 1", f"{mode:o}", paths)
    yield "chmod 755 ."


def _rename(folder: str, final: str) -> Iterator[str]:
    if folder != final:
        yield fill(
            'if [ -d {0} ]; then mkdir -p -- "$old" && {{ [ ! -e {1} ] || mv -- {1} "$old"; }} '
            "&& mv -- {0} {1}; fi",
            folder,
            final,
        )


def _words(entries: Iterable[Entry]) -> Iterator[list[str]]:
    paths = [f"./{entry.path}" for entry in entries]
    return (paths[at : at + WORDS] for at in range(0, len(paths), WORDS))
