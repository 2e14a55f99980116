"""The tables, and what a row of each is called in the rest of the code."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, DateTime, ForeignKey, Integer, MetaData, String, Table, Text

NETWORKS = ("mastodon", "bluesky", "linkedin")

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
)

posts = Table(
    "posts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text),
    Column("due_at", DateTime, nullable=False),
    Column("published_at", DateTime),
)

post_networks = Table(
    "post_networks",
    metadata,
    Column("post_id", Integer, ForeignKey("posts.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("network", String(40), nullable=False),
)


@dataclass(frozen=True)
class Account:
    """A business that posts."""

    id: int
    name: str


@dataclass(frozen=True)
class Draft:
    """A post as its author sends it in; *due_at* is UTC without an offset."""

    account_id: int
    title: str
    text: str | None
    networks: tuple[str, ...]
    due_at: datetime


@dataclass(frozen=True)
class Post:
    """A post as it is kept; *published_at* is empty while it waits."""

    id: int
    account: str
    title: str
    text: str | None
    networks: tuple[str, ...]
    due_at: datetime
    published_at: datetime | None

    @property
    def body(self) -> str:
        """The whole post, as it goes out."""
        return self.title if self.text is None else f"{self.title}\n{self.text}"
