"""`Publish` where there is SFTP alone: a relative link, moved by a rename, and moved back."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit import codec
from deploykit.errors import ConfigurationError, PlanStale, StageFailed
from deploykit.stages.publish import Publish, PublishPlan
from tests.stages.without_shell import Site
from tests.transport.without_shell import Cut, Effects, Place, lost

LINK = "public_html"
STAGE = Publish(LINK)


@pytest.fixture
def site(place: Place) -> Site:
    """Return a site with the run's release in place."""
    site = Site(place)
    release(site)
    return site


def release(site: Site) -> str:
    """Put the run's release in place, and return it."""
    files, path = site.place.files(), site.layout.release(site.run.release)
    files.mkdirs([(site.layout.releases, 0o755), (path, 0o755)])
    return site.run.release


def page(site: Site) -> Path:
    """Have a folder stand where the link is to be; return a file in it."""
    folder = site.layout.under(LINK)
    site.place.files().mkdirs([(folder, 0o755), (f"{folder}/images", 0o755)])
    return site.here / LINK / "images"


def leads_to(site: Site, link: str = LINK) -> str:
    """Return what the link contains."""
    return str((site.here / link).readlink())


def test_the_first_publish_and_its_undo(site: Site) -> None:
    """The link appears, relative to its folder, and is gone again."""
    plan = site.plan(STAGE)
    assert plan.describe() == (f"public_html -> {site.run.release} (now: nothing)",)
    was = site.listed()
    for _ in range(2):
        site.apply(STAGE, plan)
        assert leads_to(site) == f"releases/{site.run.release}"
    for _ in range(2):
        site.undo(STAGE, plan)
        assert site.listed() == was


def test_a_publish_over_another(site: Site) -> None:
    """The link goes back to the release before, word for word; both are measured."""
    site.apply(STAGE, site.plan(STAGE))
    first = site.run.release
    site.new_run()
    second = release(site)
    plan = site.plan(STAGE)
    assert (plan.before, plan.target) == (first, f"releases/{first}")
    for do, undone, wanted in ((site.apply, False, second), (site.undo, True, first)):
        do(STAGE, plan)
        assert leads_to(site) == f"releases/{wanted}"
        (measure,) = STAGE.measure(site.acting(), plan, undone)
        assert (measure.wanted, measure.is_) == (wanted, wanted)


def test_a_folder_moves_aside_and_back(site: Site) -> None:
    """As hosters make it; `plan` says where to."""
    page(site)
    was, plan = site.listed(), site.plan(STAGE)
    aside = f"{LINK}.before-deploykit-{site.run.id}"
    assert plan.describe() == (
        f"public_html -> {site.run.release} (now: a folder)",
        f"the folder moves to {site.layout.under(aside)}, and back on undo",
    )
    site.apply(STAGE, plan)
    assert leads_to(site) == f"releases/{site.run.release}"
    assert (site.here / aside / "images").is_dir()
    site.undo(STAGE, plan)
    assert site.listed() == was
    (measure,) = STAGE.measure(site.acting(), plan, undone=True)
    assert measure.ok


@pytest.mark.parametrize("before", ["nothing", "a folder", "a release", "a link of another"])
def test_cut_at_any_effect(site: Site, before: str) -> None:
    """It can be gone on with, or undone, whether the effect was done or only its answer is lost."""
    if before == "a folder":
        page(site)
    elif before == "a release":
        site.apply(STAGE, site.plan(STAGE))
    elif before == "a link of another":
        site.place.files().symlinks([("releases", site.layout.under(LINK))])
    site.new_run()
    release(site)
    was, plan, counted = site.listed(), site.plan(STAGE), Effects()
    site.apply(STAGE, plan, counted)
    site.undo(STAGE, plan)
    assert counted.count >= 2
    for left in range(counted.count):
        for done in (False, True):
            with pytest.raises(Cut):
                site.apply(STAGE, plan, Effects(left, done=done))
            site.apply(STAGE, plan, Effects(0, lost, done))
            assert leads_to(site) == f"releases/{site.run.release}"
            site.undo(STAGE, plan)
            with pytest.raises(Cut):
                site.apply(STAGE, plan, Effects(left, done=done))
            site.undo(STAGE, plan, Effects(0, lost, done))
            site.undo(STAGE, plan)
            assert site.listed() == was


def test_a_link_outside_of_the_root_is_relative_too(site: Site) -> None:
    """Inside a chroot an absolute one is another one to the web server."""
    stage = Publish(f"{site.place.root}/www")
    plan = site.plan(stage)
    site.apply(stage, plan)
    www = site.place.here / "www"
    assert str(www.readlink()) == f"site/releases/{site.run.release}"
    assert site.plan(stage).before == site.run.release
    site.undo(stage, plan)
    assert not www.is_symlink()


def test_a_file_in_the_way(site: Site) -> None:
    """Nothing is touched."""
    (site.here / LINK).touch()
    with pytest.raises(ConfigurationError, match="neither a link nor a folder"):
        site.plan(STAGE)


def test_a_server_that_makes_no_links(site: Site) -> None:
    """It is refused where that is known, and said where it is not yet."""
    (site.here / ".deploykit/links").unlink()
    with pytest.raises(ConfigurationError, match=r"server of h makes no symbolic links"):
        site.plan(STAGE)
    (site.here / ".deploykit/manifests").rmdir()
    (site.here / ".deploykit").rmdir()
    assert "is seen when the first run begins" in site.plan(STAGE).describe()[-1]


def test_somebody_else_was_there_first(site: Site) -> None:
    """What stands there since the plan was made is not moved over, and stays on undo."""
    plan = site.plan(STAGE)
    there = page(site)
    with pytest.raises(PlanStale, match="was changed by others since the plan was made"):
        site.apply(STAGE, plan)
    site.undo(STAGE, plan)
    assert there.is_dir()
    plan = site.plan(STAGE)
    there.rmdir()
    there.parent.rmdir()
    site.place.files().symlinks([("elsewhere", site.layout.under(LINK))])
    with pytest.raises(PlanStale):
        site.apply(STAGE, plan)
    site.undo(STAGE, plan)
    assert leads_to(site) == "elsewhere"


def test_a_folder_whose_place_is_taken(site: Site) -> None:
    """It stays aside, and the error says where."""
    page(site)
    plan = site.plan(STAGE)
    site.apply(STAGE, plan)
    (site.here / LINK).unlink()
    page(site)
    with pytest.raises(StageFailed, match="something is in its place") as failed:
        site.undo(STAGE, plan)
    assert plan.aside in failed.value.then


def test_no_release_to_publish_or_to_go_back_to(site: Site) -> None:
    """A link is never moved to what is not there."""
    site.apply(STAGE, site.plan(STAGE))
    first = site.here / "releases" / site.run.release
    site.new_run()
    plan = site.plan(STAGE)
    with pytest.raises(StageFailed, match="nothing to publish"):
        site.apply(STAGE, plan)
    release(site)
    site.apply(STAGE, plan)
    first.rmdir()
    with pytest.raises(StageFailed, match="no longer there"):
        site.undo(STAGE, plan)
    assert (site.here / LINK).exists()


def test_a_plan_of_an_older_version() -> None:
    """What a journal holds from before still decodes."""
    kind = "deploykit.stages.publish:PublishPlan"
    fields = dict.fromkeys(("root", "run", "link", "release", "before", "target"), "x")
    plan = codec.decode({"type": kind, "fields": fields})
    assert plan == PublishPlan("x", "x", "x", "x", "x", "x")


def test_a_server_that_cannot_replace(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is gone may be one that was to be replaced when somebody was cut off."""
    site.apply(STAGE, site.plan(STAGE))
    first = site.run.release
    site.new_run()
    release(site)
    plan = site.plan(STAGE)
    (site.here / LINK).unlink()
    monkeypatch.setattr(type(site.place.files()), "replaces", property(lambda _files: False))
    for _ in range(2):
        site.apply(STAGE, plan)
        assert leads_to(site) == f"releases/{site.run.release}"
    (site.here / LINK).unlink()
    for _ in range(2):
        site.undo(STAGE, plan)
        assert leads_to(site) == f"releases/{first}"
