"""One stage on a host that has SFTP alone: what the engine would give it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from deploykit import codec
from deploykit.files import Files
from deploykit.layout import Layout
from deploykit.release import Ledger, Manifest
from deploykit.source import read_tree
from deploykit.stage import Acting, AnyStage, Pack, Planning, RunInfo
from deploykit.transport.insisting import InsistingFiles
from deploykit.transport.retrying import RetryingTransport
from deploykit.transport.upload import Earlier
from deploykit.transport.upload.bare import upload
from tests.transport.without_shell import Effects, Place, listed

__all__ = ["Site"]

NUMBERS = itertools.count(1)


@dataclass
class _Host:
    """A host with SFTP, to be looked at or changed."""

    way: RetryingTransport
    layout: Layout
    epoch: int
    told: list[dict[str, int]]
    name: str = "h"

    @property
    def sftp(self) -> Files:
        return InsistingFiles(self.way)

    def query(self, *_words: Any, **_options: Any) -> NoReturn:
        raise AssertionError("a command, where there is no shell")

    change = put = query

    def upload(self, source: Path, manifest: Manifest, folder: str, like: str = "") -> None:
        earlier = Earlier(self.layout.release(like), self.layout.manifest(like)) if like else None
        tell = lambda **keys: self.told.append(keys)  # noqa: E731
        args = (self.way, self.name, source, manifest, folder, self.epoch, tell, lambda: None)
        upload(*args, earlier)


@dataclass
class Site:
    """
    A pipeline's root on a host without a shell, prepared as the engine does.

    Args:
        place: a folder there; the root is `site` in it.
        current: the live release.
        ledger: the releases.
    """

    place: Place
    current: str = ""
    ledger: Ledger = field(default_factory=lambda: Ledger(()))
    packs: Mapping[str, Pack] = field(default_factory=dict)
    told: list[dict[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layout = Layout(f"{self.place.root}/site")
        self.here = self.place.here / "site"
        files = self.place.files()
        private = self.layout.private
        folders = (self.layout.root, private, f"{private}/manifests")
        files.mkdirs((path, 0o755) for path in folders)
        files.symlinks([(".", f"{private}/links")])
        self.epoch = 0
        self.new_run()

    def new_run(self) -> str:
        """Begin another run, and return the release that it makes."""
        self.run = RunInfo(f"run-{next(NUMBERS)}", "production", "shop", f"rel.{next(NUMBERS)}")
        return self.run.release

    def pack(self, source: Path, stage: str = "transfer") -> None:
        """Have *source* packed by *stage*."""
        self.packs = {stage: Pack(source, read_tree(source))}

    def plan(self, stage: AnyStage) -> Any:
        """Return the plan of *stage*, as it comes from the journal, having changed nothing."""
        effects = Effects()
        plan = stage.plan(Planning(host=self._host(effects), **self._shared()))
        assert effects.count == 0
        assert codec.decode(json.loads(json.dumps(codec.encode(plan)))) == plan
        return plan

    def apply(self, stage: AnyStage, plan: Any, effects: Effects | None = None) -> None:
        """Apply *stage*, as another controller than the one before."""
        stage.apply(self.acting(effects), plan)

    def undo(self, stage: AnyStage, plan: Any, effects: Effects | None = None) -> None:
        """Undo *stage*."""
        stage.undo(self.acting(effects), plan)

    def acting(self, effects: Effects | None = None) -> Acting:
        """Return what `apply` and `undo` are given."""
        self.epoch += 1
        host = self._host(effects or Effects())
        return Acting(
            host=host, tell=lambda *_: None, sleep=lambda _seconds: None, **self._shared()
        )

    def listed(self) -> dict[str, object]:
        """Return what a stage has to restore: all but what only deploykit uses."""
        return {
            path: found
            for path, found in listed(self.here).items()
            if not path.startswith(".deploykit") and path != "shared"
        }

    def _host(self, effects: Effects) -> _Host:
        return _Host(self.place.way(effects), self.layout, self.epoch, self.told)

    def _shared(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "layout": self.layout,
            "stages": {},
            "current": self.current,
            "ledger": self.ledger,
            "packs": self.packs,
            "env": {},
            "path": (),
            "secret": str,
            "hosts": ("h",),
        }
