"""The website and the worker, in each of the three releases."""

from __future__ import annotations

import signal
import socket
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from deploykit.demo.scheduler import RELEASES
from tests.demo.site import LATER, LONG_AGO, Tree, checked_out, free_port, post_fields
from tests.farm.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADS = {"v1": "0001", "v2": "0002", "v3": "0003"}


@pytest.fixture(scope="module", params=RELEASES)
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Check a release out, over a database of its own schema."""
    directory = tmp_path_factory.mktemp(request.param)
    tree = checked_out(request.param, directory, directory / "posts.sqlite3")
    tree.migrate("upgrade", "head")
    return tree


@pytest.fixture(scope="module")
def client(tree: Tree) -> Iterator[httpx.Client]:
    """Serve that release, with one account in it."""
    with tree.serving() as client:
        assert client.post("/accounts", data={"name": "Blumen & Söhne"}).status_code == 303
        yield client


def test_healthz_names_release_and_schema(tree: Tree, client: httpx.Client) -> None:
    """`/healthz` names the release's directory and the revision of the database."""
    expected = {"status": "ok", "release": tree.release, "schema": HEADS[tree.release]}
    assert client.get("/healthz").json() == expected


def test_account_appears(client: httpx.Client) -> None:
    """An added account is shown, escaped, and can be chosen for a post."""
    assert "<li>Blumen &amp; Söhne</li>" in client.get("/accounts").text
    assert '<option value="1">Blumen &amp; Söhne</option>' in client.get("/posts").text


def test_account_twice(client: httpx.Client) -> None:
    """A name that is taken is refused without harm."""
    assert client.post("/accounts", data={"name": "Blumen & Söhne"}).status_code == 409
    assert client.get("/accounts").text.count("Blumen") == 1


def test_post_is_exported_as_written(tree: Tree, client: httpx.Client) -> None:
    """A scheduled post reads the same from `/export.json` in every release."""
    fields = post_fields(tree.release, "Tulips <3\r\nfresh\r\ntoday")
    answer = client.post("/posts", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/posts")
    assert client.get("/export.json").json()[-1] == {
        "id": client.get("/export.json").json()[-1]["id"],
        "account": "Blumen & Söhne",
        "body": "Tulips <3\nfresh\ntoday",
        "networks": ["bluesky", "mastodon"],
        "due_at": f"{LATER}:00",
        "published_at": None,
    }
    assert "Tulips &lt;3" in client.get("/posts").text


@pytest.mark.parametrize(
    "mistake",
    [
        {"account": "nobody"},
        {"networks": []},
        {"networks": ["myspace"]},
        {"due_at": "soon"},
        {"title": " ", "body": " "},
    ],
    ids=["account", "no network", "unknown network", "time", "empty"],
)
def test_post_with_a_mistake(
    tree: Tree, client: httpx.Client, mistake: dict[str, str | list[str]]
) -> None:
    """A form with a mistake in it is answered with 400, and nothing is kept."""
    before = client.get("/export.json").json()
    fields = {**post_fields(tree.release, "Roses"), **mistake}
    assert client.post("/posts", data=fields).status_code == 400
    assert client.get("/export.json").json() == before


def test_post_for_unknown_account(tree: Tree, client: httpx.Client) -> None:
    """A post needs an account that exists: the database holds rows to their keys."""
    fields = {**post_fields(tree.release, "Roses"), "account": 99}
    assert client.post("/posts", data=fields).status_code == 409


def test_time_with_an_offset_becomes_utc(tree: Tree, client: httpx.Client) -> None:
    """A due time with an offset is kept as the same moment in UTC."""
    fields = post_fields(tree.release, "Roses", due="2199-06-30T09:00+02:00")
    assert client.post("/posts", data=fields).status_code == 303
    assert client.get("/export.json").json()[-1]["due_at"] == "2199-06-30T07:00:00"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 303), ("GET", "/nowhere", 404), ("DELETE", "/posts", 405)],
)
def test_other_requests(client: httpx.Client, method: str, path: str, status: int) -> None:
    """The front page leads to the posts; what does not exist is said not to."""
    assert client.request(method, path).status_code == status


def test_form_must_be_utf8_and_of_sensible_size(client: httpx.Client) -> None:
    """A form that is no text, or far too much of it, is answered with 400."""
    assert client.post("/accounts", content=b"name=\xff").status_code == 400
    assert client.post("/accounts", content=b"name=" + b"x" * 70_000).status_code == 400


def test_overview(tree: Tree, client: httpx.Client) -> None:
    """The overview counts what waits; v3 has broken it, and nothing else."""
    client.post("/posts", data={**post_fields(tree.release, "Lilies"), "networks": ["linkedin"]})
    answer = client.get("/overview")
    if tree.release == "v3":
        assert answer.status_code == 500
        assert client.get("/posts").is_success
    else:
        assert "linkedin: 1 waiting" in answer.text


def test_worker_publishes_what_is_due(tree: Tree, client: httpx.Client) -> None:
    """The worker publishes a post whose hour has come, and leaves the others."""
    client.post("/posts", data=post_fields(tree.release, "Now", due=LONG_AGO))
    with tree.running("scheduler.worker") as worker:
        eventually(lambda: client.get("/export.json").json()[-1]["published_at"])
    assert worker.returncode == 0
    waiting = [post for post in client.get("/export.json").json() if not post["published_at"]]
    assert all(post["due_at"] > LATER for post in waiting)


def test_many_people_at_once(tree: Tree, client: httpx.Client) -> None:
    """Posts that arrive at the same time are all kept."""
    before = len(client.get("/export.json").json())
    statuses: list[int] = []

    def schedule(number: int) -> None:
        fields = post_fields(tree.release, f"Post {number}")
        statuses.append(client.post("/posts", data=fields).status_code)

    threads = [threading.Thread(target=schedule, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [303] * 20
    assert len(client.get("/export.json").json()) == before + 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_worker_ends_when_told(tmp_path: Path, number: signal.Signals) -> None:
    """The worker ends in order on either signal."""
    tree = checked_out("v1", tmp_path, tmp_path / "posts.sqlite3")
    tree.migrate("upgrade", "head")
    with tree.serving() as client, tree.running("scheduler.worker") as worker:
        client.post("/accounts", data={"name": "Flowers"})
        client.post("/posts", data=post_fields("v1", "Now", due=LONG_AGO))
        eventually(lambda: client.get("/export.json").json()[0]["published_at"])
        worker.send_signal(number)
        assert worker.wait(10) == 0


def test_website_finishes_what_it_has_begun(tmp_path: Path) -> None:
    """A form that is still being sent when SIGTERM comes is taken in and answered."""
    tree = checked_out("v1", tmp_path, tmp_path / "posts.sqlite3")
    tree.migrate("upgrade", "head")
    port = free_port()
    head = b"POST /accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n"
    with tree.running("scheduler.app", PORT=str(port)) as website:
        slow = eventually(lambda: connect(port), failing=OSError)
        with slow:
            slow.sendall(head + b"name=")
            # Connections are accepted in their order, so this answer means that ours is, too.
            httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).raise_for_status()
            website.send_signal(signal.SIGTERM)
            eventually(lambda: refused(port), failing=ConnectionResetError)
            slow.sendall(b"Flowers")
            assert slow.recv(100).startswith(b"HTTP/1.0 303")
        assert website.wait(10) == 0
    with tree.serving() as client:
        assert "Flowers" in client.get("/accounts").text


def connect(port: int) -> socket.socket:
    """Connect to the website."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def refused(port: int) -> bool:
    """Say whether nobody listens, or nobody answers, on *port* any more."""
    try:
        with connect(port) as probe:
            probe.settimeout(0.2)
            probe.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return probe.recv(1) == b""
    except (ConnectionRefusedError, TimeoutError):
        return True
