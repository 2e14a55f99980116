"""A user of the application, who writes rows all the time and remembers which were acknowledged."""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request
from itertools import count
from types import TracebackType

from tests.faults.site import Site

__all__ = ["Writer"]

EVERY = 0.1  # seconds between two rows


class Writer:
    """
    Writes rows through the application of *site* while it is entered as a context.

    From within a thread, which stays in the network of the test hosts that started it.
    """

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name=f"writer-{name}", daemon=True)
        self.acknowledged: list[str] = []

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        url = f"http://{self._site.host.ip}:8000/notes"
        for number in count():
            if self._stop.wait(EVERY):
                return
            row = f"{self._name}-{number}"
            request = urllib.request.Request(url, row.encode(), method="POST")
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    if answer.read() == b"kept":
                        self.acknowledged.append(row)
            except (urllib.error.URLError, http.client.HTTPException, OSError):
                continue
