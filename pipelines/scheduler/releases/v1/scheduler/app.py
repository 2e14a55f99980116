"""The website: `python3 -m scheduler.app` serves it on PORT until it is told to stop."""

import logging
import os
import signal
import threading
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from wsgiref.types import WSGIApplication

from sqlalchemy import Engine, text

from scheduler import forms, pages, store
from scheduler.database import open_engine
from scheduler.forms import Form
from scheduler.overview import count_waiting
from scheduler.web import Response, application, as_json, html, see_other

# Each release lies in a directory of its own, named after it.
RELEASE = Path(__file__).resolve().parents[1].name
SCHEMA = text("SELECT version_num FROM alembic_version")

log = logging.getLogger("scheduler")


class Server(ThreadingMixIn, WSGIServer):
    """A server with a thread for each request; closing it waits for those under way."""

    daemon_threads = False


class Site:
    """The handlers: each answers one method of one path."""

    def __init__(self, engine: Engine) -> None:
        """Serve what is in the database of *engine*."""
        self._engine = engine

    def health(self, _: Form) -> Response:
        """Say which release this is, and which schema it has found."""
        with self._engine.connect() as connection:
            schema = connection.execute(SCHEMA).scalar_one()
        return as_json({"status": "ok", "release": RELEASE, "schema": schema})

    def home(self, _: Form) -> Response:
        """Begin with the posts."""
        return see_other("/posts")

    def accounts(self, _: Form) -> Response:
        """Show the accounts."""
        with self._engine.connect() as connection:
            return html(pages.accounts_page(store.list_accounts(connection)))

    def add_account(self, form: Form) -> Response:
        """Take a new account in."""
        name = forms.read_account(form)
        with self._engine.begin() as connection:
            store.add_account(connection, name)
        return see_other("/accounts")

    def posts(self, _: Form) -> Response:
        """Show the posts."""
        with self._engine.connect() as connection:
            posts, accounts = store.list_posts(connection), store.list_accounts(connection)
        return html(pages.posts_page(posts, accounts))

    def add_post(self, form: Form) -> Response:
        """Take a new post in."""
        draft = forms.read_draft(form)
        with self._engine.begin() as connection:
            store.add_post(connection, draft)
        return see_other("/posts")

    def overview(self, _: Form) -> Response:
        """Show how much waits for each network."""
        with self._engine.connect() as connection:
            return html(pages.overview_page(count_waiting(connection)))

    def export(self, _: Form) -> Response:
        """Hand out every post as JSON, in a form that does not change with the tables."""
        with self._engine.connect() as connection:
            posts = store.list_posts(connection)
        return as_json(
            [
                {
                    "id": post.id,
                    "account": post.account,
                    "body": post.body,
                    "networks": list(post.networks),
                    "due_at": post.due_at.isoformat(),
                    "published_at": post.published_at and post.published_at.isoformat(),
                }
                for post in posts
            ]
        )


def make_application(engine: Engine) -> WSGIApplication:
    """Make the WSGI application over the database of *engine*."""
    site = Site(engine)
    return application(
        {
            "/": {"GET": site.home},
            "/healthz": {"GET": site.health},
            "/accounts": {"GET": site.accounts, "POST": site.add_account},
            "/posts": {"GET": site.posts, "POST": site.add_post},
            "/overview": {"GET": site.overview},
            "/export.json": {"GET": site.export},
        }
    )


def main() -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests under way."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    port = int(os.environ["PORT"])
    with make_server("127.0.0.1", port, make_application(open_engine()), Server) as server:

        def stop(*_: object) -> None:
            # shutdown() waits for the loop that this handler has interrupted.
            threading.Thread(target=server.shutdown).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        log.info("release %s serves on port %d", RELEASE, port)
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
