"""`SmokeTest` against a real server: every bad page is a clear failure, in bounded time."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from deploykit import codec
from deploykit.errors import CheckFailed, ConfigurationError
from deploykit.stages.smoketest import SmokeTest
from tests.stages.harness import Bench
from tests.stages.pages import Pages, self_signed, serving

Via = Literal["host"] | None


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """Serve the pages."""
    with serving() as server:
        yield server


@pytest.fixture(params=[None, "host", "host:python3", "host:wget"])
def via(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Via:
    """Return who asks; a host that has only one of the programs gets a PATH without the others."""
    if request.param is None:
        return None
    _, _, tool = request.param.partition(":")
    if tool:
        only(tool, tmp_path / "bin", monkeypatch)
    return "host"


def only(tool: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no program that can fetch a page on PATH but *tool*."""
    folder.mkdir()
    for name in ("sh", "cat", "head", "awk", "sed", "mkdir", "rm", "mv", "sync", "tail", "wc"):
        (folder / name).symlink_to(shutil.which(name) or "")
    for name in (
        "flock",
        "setsid",
        "sha256sum",
        "date",
        "grep",
        "touch",
        "chmod",
        "env",
        "timeout",
    ):
        (folder / name).symlink_to(shutil.which(name) or "")
    found = "/usr/bin/python3" if tool == "python3" else shutil.which(tool)
    (folder / tool).symlink_to(found or "")
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def bench(tmp_path: Path, via: Via) -> Bench:
    """Return this machine as a host, with a secret in its environment."""
    return Bench(tmp_path / "shop", env={"DB_PASSWORD": "hunter2-hunter2"})


def check(bench: Bench, url: str, via: Via, **options: Any) -> None:
    """Smoke-test *url*."""
    stage = SmokeTest(url, via=via, **{"within": 0, "max_seconds": 5, **options})
    bench.apply(stage, stage.plan(bench.planning()))


def test_a_good_page(bench: Bench, pages: Pages, via: Via) -> None:
    """Status, text and pattern are all right."""
    check(bench, pages.url("/fine"), via, contains="release one", matches=r"all\s+is")


def test_redirects_are_followed(bench: Bench, pages: Pages, via: Via) -> None:
    """A page that has moved is found."""
    check(bench, pages.url("/moved"), via, contains="all is well")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"status": 204}, "status 200 instead of 204"),
        ({"contains": "release two"}, "does not contain 'release two'"),
        ({"matches": "^well"}, "does not match"),
    ],
)
def test_another_page_than_expected(
    bench: Bench, pages: Pages, via: Via, options: dict[str, Any], complaint: str
) -> None:
    """What is wrong is named, and what came is shown."""
    with pytest.raises(CheckFailed, match=complaint) as failed:
        check(bench, pages.url("/fine"), via, **options)
    assert "status 200" in str(failed.value)
    assert "'all is well'" in str(failed.value)


def test_an_error_page(bench: Bench, pages: Pages, via: Via) -> None:
    """Its first line is shown, without the secret on it."""
    with pytest.raises(CheckFailed, match="status 500 instead of 200") as failed:
        check(bench, pages.url("/broken"), via)
    assert "DB_PASSWORD=***" in str(failed.value)
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize("path", ["/hang", "/stall", "/drip"])
def test_a_page_that_does_not_end(bench: Bench, pages: Pages, via: Via, path: str) -> None:
    """However it drags on, it is over soon after its time."""
    began = time.monotonic()
    with pytest.raises(CheckFailed, match=r"no (whole )?answer (with)?in"):
        check(bench, pages.url(path), via, max_seconds=1)
    assert time.monotonic() - began < 15


def test_a_huge_page(bench: Bench, pages: Pages, via: Via) -> None:
    """40 MB of unknown length are not read to their end, nor asked for again."""
    before = pages.asked.count("huge")
    with pytest.raises(CheckFailed, match="larger than 1000000 bytes"):
        check(bench, pages.url("/huge"), via, max_bytes=1_000_000, within=30)
    assert pages.asked.count("huge") == before + 1


def test_redirects_for_ever(bench: Bench, pages: Pages, via: Via) -> None:
    """They are counted, and not tried again."""
    with pytest.raises(CheckFailed, match="more than 10 redirects"):
        check(bench, pages.url("/loop"), via, within=30)


def test_no_redirects_wanted(bench: Bench, pages: Pages, via: Via) -> None:
    """With follow=False a redirect is the answer."""
    check(bench, pages.url("/moved"), via, follow=False, status=302)


def test_a_connection_that_is_closed(bench: Bench, pages: Pages, via: Via) -> None:
    """A server that hangs up is said to have done so."""
    with pytest.raises(CheckFailed):
        check(bench, pages.url("/closed"), via)


def test_nothing_listens(bench: Bench, via: Via) -> None:
    """A refused connection is a failed check, not a crash."""
    with Pages() as gone:
        url = gone.url("/")
    with pytest.raises(CheckFailed, match="no answer"):
        check(bench, url, via)


def test_a_service_that_is_starting(bench: Bench, pages: Pages, via: Via) -> None:
    """A wrong answer is asked for again until it is right."""
    pages.asked.clear()
    check(bench, pages.url("/third"), via, within=30)
    assert pages.asked.count("third") == 3


def test_a_certificate_that_nobody_vouches_for(bench: Bench, via: Via, tmp_path: Path) -> None:
    """It is refused at once, whatever the page would be."""
    with serving(self_signed(tmp_path / "tls.pem")) as pages:
        with pytest.raises(CheckFailed, match="certificate cannot be verified"):
            check(bench, pages.url("/fine", "https"), via, within=30)
        assert not pages.asked


def test_away_from_the_web(tmp_path: Path, pages: Pages) -> None:
    """A redirect to another protocol is not followed."""
    with pytest.raises(CheckFailed, match="not a web page"):
        check(Bench(tmp_path / "shop"), pages.url("/away"), None)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "shop.example"},
        {"url": "ftp://shop.example/"},
        {"url": "http://"},
        {"url": "http://a b/"},
        {"url": "http://a:b/"},
        {"url": "https://user:password@shop.example/"},
        {"url": "http://a/", "matches": "("},
        {"url": "http://a/", "via": "moon"},
        {"url": "http://a/", "max_bytes": 0},
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any]) -> None:
    """A mistake is refused where it is written, and no password is repeated."""
    with pytest.raises(ConfigurationError) as refused:
        SmokeTest(**options)
    assert "password@" not in str(refused.value)


def test_the_stage_survives_the_journal(tmp_path: Path) -> None:
    """Stage and plan come back equal, and the plan says what will be asked."""
    stage = SmokeTest("https://a/x?y=1", contains="z", via="host", within=3, name="s")
    plan = stage.plan(Bench(tmp_path / "shop").planning())
    for value in (stage, plan):
        assert codec.decode(json.loads(json.dumps(codec.encode(value)))) == value
    assert re.search("https://a/x.* 200 when asked from the host", plan.describe()[0])
