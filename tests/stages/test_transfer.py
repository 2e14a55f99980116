"""`Transfer`: what it leaves on a host."""

from __future__ import annotations

from pathlib import Path

from deploykit import Environment, Host, Pipeline
from deploykit.stages import Publish, Transfer


def shop(tmp_path: Path) -> Environment:
    """Return an environment on this machine."""
    project = tmp_path / "project"
    (project / "app").mkdir(parents=True)
    pipeline = Pipeline(
        app="shop", root=str(tmp_path / "root"), stages=[Transfer("app"), Publish()]
    )
    return Environment(pipeline, hosts=[Host("local:", name="h")], name="p", project=project)


def test_what_was_written_after_the_end_of_a_run_is_swept(tmp_path: Path) -> None:
    """By the next one: a controller that was cut off in silence may still have written."""
    production = shop(tmp_path)
    (tmp_path / "project" / "app" / "page").write_text("text")
    releases = tmp_path / "root" / "releases"
    late = releases / ".20261104T101512Z-0badcafe.part.3"
    (late / "folder").mkdir(parents=True)
    (late / "folder" / "file").touch()
    (late / "folder").chmod(0o555)
    result = production.run()
    assert result.ok, result.error
    assert [path.name for path in releases.iterdir()] == [result.release]


def test_a_release_shares_nothing_with_the_one_before(tmp_path: Path) -> None:
    """What has not changed is there twice, and what is gone from the source is gone."""
    production = shop(tmp_path)
    app = tmp_path / "project" / "app"
    for name in ("same", "other", "gone"):
        (app / name).write_text(name)
    first = production.run()
    (app / "other").write_text("changed")
    (app / "gone").unlink()
    told: list[dict[str, object]] = []
    second = production.run(listeners=[lambda event: told.append(dict(event))])
    assert second.ok, second.error
    releases = tmp_path / "root" / "releases"
    live = releases / second.release
    assert sorted(path.name for path in live.iterdir()) == ["other", "same"]
    (live / "same").write_text("written by the application")
    assert (releases / first.release / "same").read_text() == "same"
    sent = [event for event in told if event["event"] == "upload_progress"][-1]
    assert (sent["of"], sent["done"]) == (1, len("changed"))


def test_the_plan_says_what_will_be_sent(tmp_path: Path) -> None:
    """Beside the live release, whose manifest may be gone; nothing of it where none is live."""
    production = shop(tmp_path)
    app = tmp_path / "project" / "app"
    for name in ("same", "other"):
        (app / name).write_text(name)

    def planned() -> str:
        return str(production.plan().stages[0].lines["h"][1])

    assert planned().startswith("largest: ")
    first = production.run()
    assert planned() == f"send nothing; the host has all of them in {first.release}"
    (app / "other").write_text("changed")
    (app / "new").write_text("too")
    (app / "same").rename(app / "moved")
    assert planned() == f"send 2 of them, 10 B; the host has the rest in {first.release}"
    (tmp_path / "root" / ".deploykit" / "manifests" / f"{first.release}.json").write_text("{")
    assert planned() == f"send 3 of them, 14 B; the host has the rest in {first.release}"
