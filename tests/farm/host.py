"""A host as a test sees it: log in, put files and units there, start services, make trouble."""

from __future__ import annotations

import io
import shlex
import tarfile
from typing import TYPE_CHECKING

from tests.farm import services
from tests.farm.shell import call
from tests.farm.trouble import TroubledMachine

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


class Host(TroubledMachine):
    """A Debian host with its own address; `deploy`, `app` and `root` log in with `identity`."""

    keyring: Path
    """The directory of the farm's ssh files; the farm sets it."""

    @property
    def identity(self) -> Path:
        """The private key that logs in."""
        return self.keyring / "id"

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file with the keys of all hosts of the farm."""
        return self.keyring / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """An ssh_config with which `ssh -F … NAME` logs in to each host as deploy."""
        return self.keyring / "ssh_config"

    def ssh(
        self,
        script: str,
        *,
        user: str = "deploy",
        input: str | bytes = b"",  # noqa: A002 - the name subprocess.run gives it
        check: bool = True,
        within: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run *script* in the login shell of *user*, by OpenSSH's own client."""
        return call(
            *("ssh", "-F", str(self.ssh_config), "-l", user, self.name, script),
            input=input,
            check=check,
            within=within,
        )

    def write(
        self, path: str, text: str | bytes, mode: int = 0o644, owner: str = "root:root"
    ) -> None:
        """Make *path* a file with *text*, and its directory if need be."""
        name = shlex.quote(path)
        self.root(
            f"""
            mkdir -p "$(dirname {name})"
            cat > {name}
            chown {shlex.quote(owner)} {name}
            chmod {mode:o} {name}
            """,
            input=text,
        )

    def copy(self, source: Path, path: str, owner: str = "root:root") -> None:
        """Copy the file or directory *source* of the test's machine to *path*."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(source, arcname=path.lstrip("/"))
        self.run("tar", "-xf", "-", "-C", "/", input=packed.getvalue())
        self.run("chown", "-R", owner, path)

    def read(self, path: str) -> str:
        """Return the text of the file *path*."""
        return self.run("cat", path).stdout

    def exists(self, path: str) -> bool:
        """Tell whether there is anything at *path*, be it a link to nowhere."""
        quoted = shlex.quote(path)
        return self.root(f"test -e {quoted} -o -L {quoted}", check=False).returncode == 0

    def unit(self, name: str, text: str) -> None:
        """Write the systemd unit *name* and tell systemd."""
        self.write(f"/etc/systemd/system/{name}", text)
        self.root("systemctl daemon-reload")

    def sudoers(self, text: str, *, name: str = "deploykit") -> None:
        """
        Make *text* what sudo allows, as the file *name*; no host allows anything by itself.

        Raises:
            CommandFailedError: visudo finds an error in it, and nothing has changed.
        """
        self.run("visudo", "-cf", "-", input=f"{text}\n")
        self.write(f"/etc/sudoers.d/{name}", f"{text}\n", mode=0o440)

    def sudo_password(
        self, password: str, *, user: str = "deploy", rule: str = "deploy ALL=(root) ALL"
    ) -> None:
        """Give *user* a password, and allow what *rule* says to whoever types it."""
        self.run("chpasswd", input=f"{user}:{password}\n")
        self.sudoers(rule, name="password")

    def journal(self, unit: str) -> str:
        """Return what the journal says of *unit* since the host booted."""
        return self.run("journalctl", "--no-pager", "-o", "short-precise", "-u", unit).stdout

    def postgres(
        self, database: str = "shop", *, user: str = "shop", password: str = "secret"
    ) -> str:
        """Start PostgreSQL with an empty *database* and return its URL."""
        return services.postgres(self, database, user, password)

    def mariadb(
        self, database: str = "shop", *, user: str = "shop", password: str = "secret"
    ) -> str:
        """Start MariaDB with an empty *database* and return its URL."""
        return services.mariadb(self, database, user, password)

    def nginx(self, conf: str) -> None:
        """Make *conf* the one site of nginx, and start or reload it."""
        services.nginx(self, conf)
