"""Uploads to a host without a shell: whole and the same, wherever they were cut."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random

import pytest

from deploykit.errors import LinkLost, TransferFailed
from deploykit.release import Manifest
from deploykit.source import read_tree
from deploykit.transport.upload import Earlier
from deploykit.transport.upload.bare import upload
from deploykit.transport.upload.sending import LOSSES
from tests.farm import Hosts
from tests.transport.cutting import Relay
from tests.transport.without_shell import Cut, Effects, Place, at_a_hoster, listed, lost

Told = list[dict[str, int]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a tree with files, folders and links of every mode that there may be."""
    root = tmp_path / "source"
    for number, mode in enumerate((0o755, 0o555, 0o750, 0o700, 0o600)):
        folder = root / f"folder {number}" / "in'it"
        folder.mkdir(parents=True)
        for name, file_mode in (("a", 0o644), ("b", 0o755), ("c", 0o400), ("d", 0o666)):
            (folder / name).write_bytes(os.urandom(number * 1000))
            (folder / name).chmod(file_mode)
            os.utime(folder / name, (1_700_000_000 + number, 1_700_000_000.5 + number))
        (folder / "link").symlink_to("a")
        folder.chmod(mode)
    (root / "empty").touch()
    os.utime(root / "empty", (0, 0))
    return root


def send(
    place: Place,
    source: Path,
    name: str = "part",
    epoch: int = 1,
    earlier: Earlier | None = None,
    manifest: Manifest | None = None,
    effects: Effects | None = None,
) -> Told:
    """Send *source*; return what was told."""
    told: Told = []
    upload(
        place.way(effects),
        "host",
        source,
        manifest or read_tree(source),
        f"{place.root}/{name}",
        epoch,
        lambda **keys: told.append(keys),
        lambda: None,
        earlier,
    )
    return told


def kept(place: Place, source: Path) -> Earlier:
    """Have *place* hold `old`, a release of what is in *source*, as an upload leaves it."""
    send(place, source, "old")
    for suffix in ("", ".json", ".json.times"):
        (place.here / f"old.1{suffix}").rename(place.here / f"old{suffix}")
    return Earlier(f"{place.root}/old", f"{place.root}/old.json")


def part(place: Place, name: str = "part") -> Path:
    """Return the folder that has not got its name yet."""
    return next(path for path in place.here.glob(f"{name}.*-*") if path.is_dir())


def test_everything_is_there_as_it_was_here(place: Place, source: Path) -> None:
    """Contents, modes, times and links; beside it the manifest, and the times that were set."""
    send(place, source, epoch=7)
    there = place.here / "part.7"
    assert listed(there) == listed(source)
    assert there.stat().st_mode & 0o7777 == 0o755
    assert (place.here / "part.7.json").read_text() == read_tree(source).to_json()
    times = json.loads((place.here / "part.7.json.times").read_text())
    files = [entry.path for entry in read_tree(source).files]
    assert times == {path: int((source / path).stat().st_mtime) for path in files}
    assert times == {path: int((there / path).stat().st_mtime) for path in files}


def test_no_file_has_its_time_by_chance(place: Place, source: Path) -> None:
    """What was built a moment ago, or will be, counts as older than what is written there now."""
    (source / "new").write_text("text")
    (source / "future").write_text("text")
    os.utime(source / "future", (2**33, 2**33))
    send(place, source)
    there = place.here / "part.1"
    written = int((place.here / "part.1.json.times").stat().st_mtime)
    assert all((there / name).stat().st_mtime < written for name in ("new", "future"))
    with pytest.raises(Cut):
        send(place, source, "cut", effects=Effects(3))
    (part(place, "cut") / "new").write_bytes(b"\0\0\0\0")
    send(place, source, "cut")
    assert (place.here / "cut.1/new").read_text() == "text"


def test_only_what_has_changed_is_sent(place: Place, source: Path, tmp_path: Path) -> None:
    """What was moved, touched or given another mode is copied there, and shares nothing."""
    earlier = kept(place, source)
    new = tmp_path / "new"
    shutil.copytree(source, new, symlinks=True)
    (new / "folder 1").rename(new / "moved")
    (new / "folder 2/in'it/a").chmod(0o777)
    os.utime(new / "folder 3/in'it/b", (1_600_000_000, 1_600_000_000))
    (new / "folder 0/in'it/a").write_bytes(b"changed")
    told = send(place, new, earlier=earlier)
    # Those in a folder that its owner may not enter cannot be looked at.
    assert (told[-1]["of"], told[-1]["done"]) == (1 + 4, len(b"changed") + 4 * 4000)
    there, old = place.here / "part.1", listed(place.here / "old")
    assert listed(there) == listed(new)
    assert int((there / "folder 3/in'it/b").stat().st_mtime) == 1_600_000_000
    for path in read_tree(new).files:
        with (there / path.path).open("ab") as file:
            file.write(b"appended by the new release")
    assert listed(place.here / "old") == old


def test_a_file_that_was_edited_on_the_server_is_sent(place: Place, source: Path) -> None:
    """Its size is the same, its time is not; nor is one copied that is gone, or no file."""
    earlier = kept(place, source)
    within = place.here / "old/folder 3/in'it"
    (within / "a").write_bytes(b"x" * 3000)
    (within / "b").unlink()
    (within / "c").unlink()
    (within / "c").symlink_to("d")
    told = send(place, source, earlier=earlier)
    assert told[-1]["of"] == 3 + 4
    assert listed(place.here / "part.1") == listed(source)


@pytest.mark.parametrize("times", ["", "[]", "{", '{"empty": "1"}', "\xff"])
@pytest.mark.parametrize("what", ["old.json", "old.json.times"])
def test_what_is_no_manifest_is_of_no_use(
    place: Place, source: Path, what: str, times: str
) -> None:
    """Nor what are no times; everything is sent then."""
    earlier = kept(place, source)
    (place.here / what).write_bytes(times.encode("latin-1"))
    told = send(place, source, earlier=earlier)
    assert told[-1]["of"] == len(read_tree(source).files)
    assert listed(place.here / "part.1") == listed(source)


def test_a_source_that_changes_is_named(place: Place, source: Path) -> None:
    """Also where its size stays the same; nothing gets the name of what is whole."""
    manifest = read_tree(source)
    changed = source / "folder 4/in'it/d"
    changed.write_bytes(b"x" * 4000)
    with pytest.raises(TransferFailed, match=r"folder 4/in'it/d changed while it was being sent"):
        send(place, source, manifest=manifest)
    changed.write_bytes(b"x")
    with pytest.raises(TransferFailed, match=r"folder 4/in'it/d changed while it was being sent"):
        send(place, source, manifest=manifest)
    assert not (place.here / "part.1").exists()


def test_cut_at_any_effect(place: Place, source: Path, tmp_path: Path) -> None:
    """Another controller takes over what is whole; the first may have been cut before or after."""
    earlier = kept(place, source)
    new = tmp_path / "new"
    shutil.copytree(source, new, symlinks=True)
    (new / "folder 2/in'it/a").write_bytes(b"changed")
    counted = Effects()
    send(place, new, "whole", earlier=earlier, effects=counted)
    assert counted.count >= 10
    for left in range(counted.count):
        for done in (False, True):
            name = f"part-{left}-{done}"
            with pytest.raises(Cut):
                send(place, new, name, earlier=earlier, effects=Effects(left, done=done))
            send(place, new, name, epoch=2, earlier=earlier)
            assert listed(place.here / f"{name}.2") == listed(new)


def test_what_is_whole_is_not_sent_again(place: Place, source: Path, tmp_path: Path) -> None:
    """Also by another machine, on which the sources have other times."""
    counted = Effects()
    send(place, source, "whole", effects=counted)
    with pytest.raises(Cut):  # before it gets its name
        send(place, source, effects=Effects(counted.count - 1))
    os.truncate(part(place) / "folder 4/in'it/d", 3999)
    other = tmp_path / "other"
    shutil.copytree(source, other, symlinks=True)
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    told = send(place, other, epoch=2)
    assert told[-1]["of"] == 1
    assert listed(place.here / "part.2") == listed(source)


def test_a_later_controller_s_part_is_left_alone(place: Place, source: Path) -> None:
    """Who was taken over from and wakes up makes a folder of his own."""
    (place.here / "part.3-1").mkdir()
    send(place, source, epoch=2)
    assert (place.here / "part.3-1").is_dir()
    assert listed(place.here / "part.2") == listed(source)


def test_what_comes_late_finds_nothing(place: Place, source: Path) -> None:
    """What a lost link still carries names the folder as it was; what it has open is no more."""
    with pytest.raises(Cut):
        send(place, source, effects=Effects(4))
    before = part(place)
    late = (before / "empty").open("wb")
    send(place, source)
    assert not before.exists()
    with late:
        late.write(b"late")
    assert listed(place.here / "part.1") == listed(source)


class Hopeless(Effects):
    """A link that is lost at every effect."""

    def carry_out(self, effect: object) -> object:
        """Lose it."""
        del effect
        self.count += 1
        raise lost()


@pytest.mark.parametrize("done", [False, True])
def test_a_link_that_is_lost_again_and_again(place: Place, source: Path, done: bool) -> None:
    """It goes on where it was cut, and gives up when nothing more arrives."""
    effects = Effects(5, lost, done)
    send(place, source, effects=effects)
    assert listed(place.here / "part.1") == listed(source)

    hopeless = Hopeless()
    with pytest.raises(LinkLost):
        send(place, source, "never", effects=hopeless)
    assert hopeless.count == LOSSES


def test_a_server_that_writes_something_else(place: Place, source: Path) -> None:
    """It is found before anything gets its name, and the path is named."""

    class Lying(Effects):
        """A server that loses the end of one file."""

        def carry_out(self, effect: Callable[[], object]) -> object:
            """Do *effect*, and something else."""
            done = super().carry_out(effect)
            if (wrong := place.here / "part.1-1/folder 4/in'it/b").exists():
                os.truncate(wrong, 3)
            return done

    with pytest.raises(TransferFailed, match=r"host: .*in'it/b is not what was sent"):
        send(place, source, effects=Lying())
    assert not (place.here / "part.1").exists()


@pytest.mark.parametrize("after", [1, 3_000, 20_000, 60_000, 150_000, 290_000])
def test_an_upload_may_be_cut_after_any_byte(hosts: Hosts, tmp_path: Path, after: int) -> None:
    """And cut again when it goes on, and what is there in the end is the same in any case."""
    old, new = tmp_path / "old", tmp_path / "new"
    noise = Random(after)
    sizes = {"a": 100_000, "b/c": 5, "b/d": 200_000, "e": 0, **{f"f/{n}": n for n in range(100)}}
    for name, size in sizes.items():
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_bytes(noise.randbytes(size))
        (old / name).chmod(0o444 if size % 2 else 0o640)
    shutil.copytree(old, new)
    (new / "b/d").chmod(0o755)
    (new / "b/d").write_bytes(noise.randbytes(150_000))
    (new / "g").symlink_to("b/d")
    host = hosts(1)[0]
    with closing(Relay(host.ip, 22)) as relay:
        place = at_a_hoster(host, relay.port)
        for source, earlier in ((old, None), (new, kept(place, old))):
            cuts = relay.cuts
            with closing(place.way()) as way:
                way.files().names("/")
                relay.cut_after(after)
                upload(
                    way,
                    "host",
                    source,
                    read_tree(source),
                    f"{place.root}/part",
                    1,
                    lambda **_keys: None,
                    partial(again, relay, cuts, after),
                    earlier,
                )
            assert relay.cuts > cuts or after > 150_000
            assert listed(place.here / "part.1") == listed(source)
            shutil.rmtree(place.here / "part.1")


def again(relay: Relay, cuts: int, after: int) -> None:
    """Have the link cut once more."""
    if relay.cuts == cuts + 1:
        relay.cut_after(after)
