"""The service manager of the demo host: a real supervisord, as an ordinary process."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from deploykit.demo.host import DemoHost

__all__ = ["DemoServices"]

START_WITHIN = 15.0
STOP_WITHIN = 20.0
EVERY = 0.05

CONFIGURATION = """[supervisord]
nodaemon=true
silent=true
directory={directory}
logfile={directory}/supervisord.log
pidfile={directory}/supervisord.pid
childlogdir={directory}

[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket}

"""


class DemoServices:
    """
    A supervisord that runs services on a demo host while the block lasts.

    Args:
        host: the host, prepared.
        programs: the `[program:…]` sections, as they would lie in supervisor's conf.d.
    """

    def __init__(self, host: DemoHost, programs: str) -> None:
        self._host = host
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """
        Start supervisord, and return when supervisorctl can reach it.

        Raises:
            RuntimeError: it ended, or did not answer; the message is what it printed.
        """
        self._configure()
        self._process = self._spawn()
        deadline = time.monotonic() + START_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                said = self._errors.read_text(errors="replace").strip()
                raise RuntimeError(f"supervisord did not start: {said or 'it does not answer'}")
            time.sleep(EVERY)

    def close(self) -> None:
        """Stop the services, then supervisord."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _errors(self) -> Path:
        return self._host.directory / "supervisord.err"

    def _configure(self) -> None:
        places = {"directory": self._host.directory, "socket": self._host.supervisor_socket}
        # A percent sign would begin one of supervisor's own expansions.
        escaped = {name: str(path).replace("%", "%%") for name, path in places.items()}
        text = CONFIGURATION.format(**escaped) + self._programs
        self._host.supervisor_configuration.write_text(text)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._errors.open("wb") as errors:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "supervisor.supervisord"),
                    *("-c", str(self._host.supervisor_configuration)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                cwd=self._host.directory,
                env=self._host.environment(),
                # A Ctrl-C at the terminal is the demo's, which then stops the services in order.
                start_new_session=True,
            )

    def _answers(self) -> bool:
        asked = subprocess.run(
            [self._host.bin / "supervisorctl", "pid"],
            env=self._host.environment(),
            capture_output=True,
            check=False,
        )
        return asked.returncode == 0
