"""How much waits for each network."""

from collections import Counter

from sqlalchemy import Connection, text

WAITING = text("SELECT networks FROM posts WHERE published_at IS NULL")


def count_waiting(connection: Connection) -> Counter[str]:
    """Count the waiting posts of each network."""
    waiting: Counter[str] = Counter()
    for networks in connection.execute(WAITING).scalars():
        waiting.update(networks.split(","))
    return waiting
