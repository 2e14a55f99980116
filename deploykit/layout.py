"""Where things are on a host: every path under the pipeline's root is made here."""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import join

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """The folders under one pipeline's root on a host (DESIGN: "On a host")."""

    root: str

    @property
    def current(self) -> str:
        """The link to the published release."""
        return join(self.root, "current")

    @property
    def releases(self) -> str:
        """The folder of all releases."""
        return join(self.root, "releases")

    @property
    def shared(self) -> str:
        """What outlives releases: uploads, `.env`, databases in files."""
        return join(self.root, "shared")

    @property
    def backups(self) -> str:
        """The folder of database backups, mode 0700."""
        return join(self.root, "backups")

    @property
    def private(self) -> str:
        """The folder that only deploykit uses, mode 0700."""
        return join(self.root, ".deploykit")

    @property
    def ledger(self) -> str:
        """The list of releases and their states, in order, append-only."""
        return join(self.private, "releases.jsonl")

    def release(self, release: str) -> str:
        """Return the folder of *release*."""
        return join(self.releases, release)

    def manifest(self, release: str) -> str:
        """Return the file that lists the contents of *release*."""
        return join(self.private, "manifests", f"{release}.json")

    @property
    def runs(self) -> str:
        """The folder of all runs."""
        return join(self.private, "runs")

    def times(self, release: str) -> str:
        """Return the file that says when each file of *release* was changed, where no shell is."""
        return f"{self.manifest(release)}.times"

    def part(self, release: str) -> str:
        """Return the folder in which *release* grows, but for `.` and the epoch."""
        return join(self.releases, f".{release}.part")

    def run(self, run: str) -> str:
        """Return the folder of *run*."""
        return join(self.runs, run)

    def journal(self, run: str) -> str:
        """Return the journal file of *run*."""
        return join(self.run(run), "journal.jsonl")

    def under(self, path: str) -> str:
        """Return *path* taken relative to the root; an absolute one stays as it is."""
        return join(self.root, path)
