"""`Transfer` where there is SFTP alone: a release appears whole, or not at all."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from deploykit.errors import ConfigurationError, TransferFailed
from deploykit.files import FilesToLookAt
from deploykit.release import Manifest
from deploykit.stages import Transfer
from tests.stages.without_shell import Site
from tests.transport.without_shell import Cut, Effects, Place, listed, lost


@pytest.fixture
def site(place: Place, tmp_path: Path) -> Site:
    """Return a site whose next release is packed."""
    source = tmp_path / "source"
    (source / "static").mkdir(parents=True)
    (source / "static/page").write_text("page")
    (source / "closed").mkdir()
    (source / "closed/page").write_text("page of the closed")
    (source / "closed").chmod(0o500)
    site = Site(place)
    site.pack(source)
    return site


STAGE = Transfer("source", shared=[".env", "static/media/", "up/load/"])


def with_env(site: Site) -> Site:
    """Put the file that `STAGE` shares on *site*."""
    (site.here / "shared").mkdir()
    (site.here / "shared/.env").write_text("A=1")
    (site.here / "shared").chmod(0o777)  # for a user that a test does not know
    return site


def test_a_release_is_all_that_is_left(site: Site) -> None:
    """With its shared paths linked in, its manifest and times; a second time changes nothing."""
    plan = with_env(site).plan(STAGE)
    for _ in range(2):
        site.apply(STAGE, plan)
        release = site.here / "releases" / site.run.release
        links = {path: str((release / path).readlink()) for path in (".env", "up/load")}
        assert links == {".env": "../../shared/.env", "up/load": "../../../shared/up/load"}
        assert (release / "static/media").resolve() == (site.here / "shared/static/media").resolve()
        assert (release / ".env").read_text() == "A=1"
        assert [path.name for path in (site.here / "releases").iterdir()] == [site.run.release]
        assert (release / "closed").stat().st_mode & 0o777 == 0o500
        manifests = site.here / ".deploykit/manifests"
        names = [f"{site.run.release}.json", f"{site.run.release}.json.times"]
        assert sorted(path.name for path in manifests.iterdir()) == names
        there = (manifests / names[0]).read_text()
        assert there == site.packs["transfer"].manifest.to_json()
    assert len({event["of"] for event in site.told}) == 1
    assert site.told[-1]["of"] == 2


def test_only_what_the_live_release_does_not_have_is_sent(site: Site) -> None:
    """`plan` says so beforehand; a file that was edited there is sent all the same."""
    stage = Transfer("source")
    site.apply(stage, site.plan(stage))
    source, first = site.packs["transfer"].source, site.run.release
    (source / "new").write_text("new")
    site.pack(source)
    site.current = first
    site.new_run()
    plan = site.plan(stage)
    assert (plan.new, plan.new_size) == (1, 3)
    assert plan.describe()[1] == f"send 1 of them, 3 B; the host has the rest in {first}"
    before = site.here / "releases" / first
    (before / "static/page").write_text("PAGE")
    site.told.clear()
    site.apply(stage, plan)
    assert site.told[-1]["of"] == 2
    live = site.here / "releases" / site.run.release
    assert listed(live) == listed(source)
    (live / "closed/page").write_text("written by the application")
    assert (before / "closed/page").read_text() == "page of the closed"


def test_cut_at_any_effect_and_undone(site: Site) -> None:
    """Undone it is as it was, whatever was done; and undone again."""
    counted = Effects()
    plan = with_env(site).plan(STAGE)
    site.apply(STAGE, plan, counted)
    site.undo(STAGE, plan)
    was = site.listed()
    for left in range(counted.count):
        site.new_run()
        plan = site.plan(STAGE)
        assert plan.made
        with pytest.raises(Cut):
            site.apply(STAGE, plan, Effects(left, done=left % 2 == 0))
        with suppress(Cut):
            site.undo(STAGE, plan, Effects(left % 3))
        for _ in range(2):
            site.undo(STAGE, plan)
            whole = f"releases/{site.run.release}"
            now = {path: it for path, it in site.listed().items() if not path.startswith(whole)}
            assert now == was


def test_cut_at_any_effect_and_gone_on_with(site: Site) -> None:
    """By another controller, whether the effect was done or not, or over a link that was lost."""
    with_env(site)
    counted = Effects()
    site.apply(STAGE, site.plan(STAGE), counted)
    whole = listed(site.here / "releases" / site.run.release)
    for left in range(counted.count):
        for raises in (Cut, lost):
            site.new_run()
            plan = site.plan(STAGE)
            effects = Effects(left, raises, done=left % 2 == 0)
            if raises is Cut:
                with pytest.raises(Cut):
                    site.apply(STAGE, plan, effects)
            site.apply(STAGE, plan, effects)
            assert listed(site.here / "releases" / site.run.release) == whole
    assert not list((site.here / "releases").glob(".*"))


def test_undone_after_it_was_done(site: Site) -> None:
    """The release stays, to be marked bad; shared folders go that it made and nobody filled."""
    plan = with_env(site).plan(STAGE)
    site.apply(STAGE, plan)
    (site.here / "shared/up/load/file").write_text("of a user")
    for _ in range(2):
        site.undo(STAGE, plan)
        assert (site.here / "releases" / site.run.release).is_dir()
        assert not (site.here / "shared/static").exists()
        assert (site.here / "shared/up/load/file").exists()


def test_what_was_written_after_the_end_of_a_run_is_swept(site: Site) -> None:
    """By the next one; what has another name stays."""
    stage = Transfer("source")
    releases = site.here / "releases"
    site.apply(stage, site.plan(stage))
    stray = [".rel.0.part.3-1", ".rel.0.part.3.json", ".rel.0.part.3-1.json.times"]
    site.place.files().mkdirs((f"{site.layout.releases}/{name}", 0o555) for name in stray)
    (releases / "mine").mkdir()
    first = site.run.release
    site.new_run()
    site.apply(stage, site.plan(stage))
    assert {path.name for path in releases.iterdir()} == {"mine", first, site.run.release}


def test_a_shared_file_that_is_not_there(site: Site) -> None:
    """Nothing is touched, and the command to send it is named; folders are made."""
    with pytest.raises(ConfigurationError, match=r"h: the shared file '\.env' is not there") as got:
        site.plan(STAGE)
    assert got.value.then == "send it: deploykit shared put production .env"
    with_env(site)
    assert site.plan(STAGE).made == ("static/", "static/media/", "up/", "up/load/")


def test_a_disk_that_is_too_small(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked, where the server answers that; else the run finds out."""
    kind = type(site.place.files())
    stage = Transfer("source")

    def free(_self: FilesToLookAt, _path: str) -> int | None:
        return left

    monkeypatch.setattr(kind, "free", free)
    left: int | None = 3
    with pytest.raises(
        ConfigurationError, match=r"the release needs 22 B, and .*/site has 3 B left"
    ):
        site.plan(stage)
    left = None
    assert site.plan(stage).size == 22


def test_nothing_here_that_could_be_sent(site: Site) -> None:
    """Another machine that goes on needs the sources, as long as the release is not whole."""
    stage = Transfer("source")
    plan = site.plan(stage)
    site.packs = {}
    with pytest.raises(TransferFailed, match="is not complete on h, and its contents are not here"):
        site.apply(stage, plan)


def test_a_manifest_is_what_it_was(site: Site) -> None:
    """The times of the files are no part of it, so that contents are called the same anywhere."""
    stage = Transfer("source")
    site.apply(stage, site.plan(stage))
    text = (site.here / ".deploykit/manifests" / f"{site.run.release}.json").read_text()
    assert Manifest.from_json(text).content == site.packs["transfer"].manifest.content
