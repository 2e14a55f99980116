"""The how-to about stages of one's own: its stage, proved by its own test on a real host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import DOCS, blocks
from tests.docs.reader import Reader, log_in
from tests.farm import Host

NAME = "test.shop.example"


def test_the_stage_keeps_the_contract(host: Host, home: Path, tmp_path: Path) -> None:
    """The page's own test passes, word for word, where the host's name leads to a real host."""
    log_in(home, host)
    # Both OpenSSH and deploykit read this; the page's host is an alias of the real one.
    alias = f"Host {NAME}\n  HostName {host.ip}\n  UserKnownHostsFile {host.known_hosts}\n"
    (home / ".ssh" / "config").write_text(alias)
    host.root("install -d -o deploy -g deploy /srv/contract")
    reader = Reader(host, tmp_path / "shop", tmp_path / "bin")
    with (reader.bin / "ssh_config").open("a") as config:
        config.write(alias)
    for block in blocks(DOCS / "how-to" / "write-a-stage.md"):
        if block.caption:
            reader.write(block.caption, block.text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_notices.py"],
        cwd=reader.folder,
        env={**reader.environment(), "PYTHONPATH": f"{reader.folder}:{DOCS.parent}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout
