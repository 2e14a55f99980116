"""The worker: `python3 -m scheduler.worker` publishes posts as their hour comes."""

import logging
import signal
import threading
from datetime import UTC, datetime

from sqlalchemy import Engine

from scheduler.database import open_engine
from scheduler.store import publish_due

EVERY = 0.5

log = logging.getLogger("scheduler")


def publish(engine: Engine) -> list[int]:
    """Publish what is due now, and return the ids of those posts."""
    with engine.begin() as connection:
        return publish_due(connection, datetime.now(UTC).replace(tzinfo=None))


def main() -> None:
    """Look every half second until SIGTERM or SIGINT; a round that has begun is finished."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    engine = open_engine()
    while not stopping.wait(EVERY):
        for post in publish(engine):
            log.info("post %d is published", post)


if __name__ == "__main__":
    main()
