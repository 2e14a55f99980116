"""One host of the run that has no shell: looked at, locked and written to by its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from deploykit.command import Result
from deploykit.engine import journal
from deploykit.engine.answers import Answer, Glance, Holding
from deploykit.engine.session import ENDED_KINDS, Session
from deploykit.engine.sftp_only import lock
from deploykit.engine.sftp_only.beating import Beating
from deploykit.engine.sftp_only.records import Records
from deploykit.errors import ConfigurationError, TransferFailed, TransportError
from deploykit.files import Files, FilesToLookAt
from deploykit.transport.base import Held, Transport
from deploykit.transport.insisting import InsistingFiles
from deploykit.transport.upload import Earlier
from deploykit.transport.upload.whole import altered

__all__ = ["SftpSession"]


class SftpSession(Session):
    """A connected host without a shell, and the pipeline's root on it."""

    shell = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._records = Records(self.transport)
        self._before: dict[int, int] = {}  # the epoch before each that was issued to us

    @property
    def files(self) -> Files:
        """Its files, asked again after a lost link."""
        return InsistingFiles(self.transport)

    def files_to_look_at(self) -> FilesToLookAt:
        """See `Session`."""
        return OnlyLooking(self.files)

    # -- looking -----------------------------------------------------------------------------

    def read(self, path: str) -> str | None:
        """See `Session`."""
        found = self.files.read([path]).get(path)
        return None if found is None else found.decode(errors="replace")

    def names(self, folder: str) -> list[str]:
        """See `Session`."""
        return self.files.names(folder) or []

    def journals(self) -> list[dict[str, Any]]:
        """See `Session`."""
        return [record for own in self._by_run().values() for record in own]

    def glance(self, link: str, env_file: str) -> Glance:
        """See `Session`."""
        runs = self._by_run()
        ended = {r for r, own in runs.items() if any(x.get("kind") in ENDED_KINDS for x in own)}
        wanted = [self.layout.ledger, *([env_file] if env_file else [])]
        found = {
            path: content.decode(errors="replace")
            for path, content in self.files.read(wanted).items()
        }
        return Glance(
            self.files.target(link) or "",
            journal.parse(found.get(self.layout.ledger, "")),
            tuple(run for run in runs if run not in ended),
            found.get(env_file, ""),
        )

    def altered(self, release: str) -> list[str]:
        """See `Session`; told by sizes and times."""
        lay, files = self.layout, self.files
        return altered(files, Earlier(lay.release(release), lay.manifest(release)))

    def epoch(self) -> int:
        """See `Session`."""
        return lock.epoch(self.files, self.layout)

    def holding(self) -> Holding | None:
        """See `Session`."""
        return lock.holding(self.files, self.layout)

    def busy(self) -> bool:
        """See `Session`; no command runs there."""
        return False

    def _by_run(self) -> dict[str, list[dict[str, Any]]]:
        paths = {self.layout.journal(run): run for run in self.names(self.layout.runs)}
        found = self.files.read(paths)
        return {paths[p]: journal.parse(c.decode(errors="replace")) for p, c in found.items()}

    # -- changing deploykit's own files --------------------------------------------------------

    def prepare(self) -> None:
        """See `Session`."""
        lay, files = self.layout, self.files
        mine = [lay.private, lay.runs, f"{lay.private}/manifests", f"{lay.private}/epochs"]
        links = f"{lay.private}/links"
        try:
            there = files.look([lay.root, links])
            files.mkdirs([*([] if lay.root in there else [(lay.root, 0o755)])])
            files.mkdirs([(folder, 0o700) for folder in mine])
        except TransferFailed as error:
            raise TransportError(
                f"{self.name}: no right to write in {lay.root}: {error.what}",
                state="nothing was touched",
                then="choose a root= in which this user may write; sftp shows which there are",
            ) from error
        if links not in there:
            self._try_links(links)

    def _try_links(self, links: str) -> None:
        """Have a link made, which tells from now on that this server makes them."""
        try:
            self.files.symlinks([(".", links)])
        except TransferFailed:
            return  # it makes none, which its absence tells

    def append_to(self, files: Mapping[str, Sequence[Mapping[str, Any]]], epoch: int) -> None:
        """See `Session`."""
        for file, records in files.items():
            path = f"{self.layout.private}/{file}"
            self._records.append(path, records, partial(self.fence, epoch))

    def fence(self, epoch: int, files: Files) -> None:
        """
        Look whether the host has issued another epoch.

        Raises:
            Fenced: it has.
        """
        before = self._before.get(epoch)
        if before is None or not lock.is_last(files, self.layout, epoch, before):
            lock.fence(files, self.layout, epoch, self.name)

    # -- the lock ------------------------------------------------------------------------------

    def lock(self, run: str, least: int, seen: str, owner: str) -> Answer:
        """See `Session`."""
        self.prepare()
        wish = lock.Wish(run, least, seen, owner)
        answer = self._insist(lambda files: lock.take(files, self.layout, wish, self.name))
        if answer[0] == "locked":
            self._before[int(answer[1])] = int(answer[2])
        return Answer(answer[:2])

    def unlock(self, run: str, epoch: str) -> Answer:
        """See `Session`."""
        return Answer(
            self._insist(lambda files: lock.free(files, self.layout, run, epoch, self.name))
        )

    def stand(self, run: str, epoch: int) -> Held:  # noqa: ARG002  # the epoch says it all here
        """See `Session`."""
        heartbeat = f"{self.layout.private}/lock/heartbeat"
        return Beating(self.transport, heartbeat, partial(self.fence, epoch))

    def _insist(self, work: Callable[[Files], tuple[str, ...]]) -> tuple[str, ...]:
        def attempt(transport: Transport) -> tuple[str, ...]:
            return work(transport.files())

        return self.transport.insist(attempt)

    # -- what needs a shell ----------------------------------------------------------------------

    def query(self, *_words: Any, **_options: Any) -> Result:
        """Refuse: there is no shell."""
        self._refuse()

    def prelude(self, *_words: Any) -> str:
        """Refuse: there is no shell."""
        self._refuse()

    def call(self, *_words: Any, **_options: Any) -> tuple[Answer, bytes]:
        """Refuse: there is no shell."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigurationError(
            f"{self.name} has no shell (Host(shell=False)), and this needs one",
            then="if it has one: take shell=False out of deploy.py",
        )


class OnlyLooking:
    """
    Files that may only be looked at.

    Args:
        files: of a host.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self.look = files.look
        self.names = files.names
        self.read = files.read
        self.target = files.target
        self.free = files.free

    @property
    def copies(self) -> bool:
        """See `FilesToLookAt`."""
        return self._files.copies
