"""Everything that is asked of the database, and everything that is told to it."""

from collections import defaultdict
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, update

from scheduler.models import Account, Draft, Post, accounts, post_networks, posts


def add_account(connection: Connection, name: str) -> None:
    """Add an account; a name that is taken is an `IntegrityError`."""
    connection.execute(insert(accounts).values(name=name))


def list_accounts(connection: Connection) -> list[Account]:
    """List the accounts by name."""
    rows = connection.execute(select(accounts).order_by(accounts.c.name))
    return [Account(row.id, row.name) for row in rows]


def add_post(connection: Connection, draft: Draft) -> None:
    """Add a post that waits; an unknown account is an `IntegrityError`."""
    added = connection.execute(
        insert(posts)
        .values(
            account_id=draft.account_id,
            title=draft.title,
            text=draft.text,
            due_at=draft.due_at,
        )
        .returning(posts.c.id)
    )
    post = added.scalar_one()
    connection.execute(
        insert(post_networks),
        [
            {"post_id": post, "position": position, "network": network}
            for position, network in enumerate(draft.networks)
        ],
    )


def list_posts(connection: Connection) -> list[Post]:
    """List all posts, the oldest first."""
    query = select(posts, accounts.c.name.label("account")).join(accounts).order_by(posts.c.id)
    networks = _networks(connection)
    return [_post(row, networks[row.id]) for row in connection.execute(query)]


def publish_due(connection: Connection, now: datetime) -> list[int]:
    """Mark as published every post whose hour has come, and return their ids."""
    due = posts.c.published_at.is_(None) & (posts.c.due_at <= now)
    marked = connection.execute(
        update(posts).where(due).values(published_at=now).returning(posts.c.id)
    )
    return sorted(marked.scalars())


def _networks(connection: Connection) -> defaultdict[int, list[str]]:
    networks: defaultdict[int, list[str]] = defaultdict(list)
    query = select(post_networks).order_by(post_networks.c.post_id, post_networks.c.position)
    for row in connection.execute(query):
        networks[row.post_id].append(row.network)
    return networks


def _post(row: Row[tuple[object, ...]], networks: list[str]) -> Post:
    return Post(
        id=row.id,
        account=row.account,
        title=row.title,
        text=row.text,
        networks=tuple(networks),
        due_at=row.due_at,
        published_at=row.published_at,
    )
