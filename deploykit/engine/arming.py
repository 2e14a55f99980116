"""How a guardian is put on a host and started: as a unit of systemd, or as a detached process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any, Literal

from deploykit.engine.session import Session
from deploykit.errors import TransportError
from deploykit.host import script as host_script
from deploykit.layout import Layout
from deploykit.shell import fill, quote

__all__ = ["NOWHERE", "WAYS", "Does", "start", "start_words", "ways"]

Does = Literal["back", "leave"]
WAYS = ("user", "system", "detached")  # from the best to the one that always goes
NOWHERE = "none"
NOT_WRITTEN, NOT_STARTED = 45, 46

# A unit outlives what logind may do to a user's processes when his last connection ends. Nothing of
# the three outlives a reboot. KillMode: what an undo has started stays when the guardian ends.
_WAYS = """
dk_may_user() {{
  [ -d /run/systemd/system ] && [ -e "/var/lib/systemd/linger/$(id -un)" ] || return 1
  : "${{XDG_RUNTIME_DIR:=/run/user/$(id -u)}}"
  export XDG_RUNTIME_DIR
  command -v systemd-run >/dev/null && systemctl --user show -p Version >/dev/null 2>&1
}}
dk_by_user() {{
  systemd-run --user --quiet --collect --unit={unit} --property=KillMode=process \
    /bin/sh {script} {root}
}}
dk_may_system() {{ [ -d /run/systemd/system ] && dk_system may_root; }}
dk_by_system() {{ dk_system as_root; }}
dk_may_detached() {{ :; }}
dk_by_detached() {{
  if command -v setsid >/dev/null; then setsid /bin/sh {script} {root} &
  else nohup /bin/sh {script} {root} & fi
}}
"""

# In functions, which a shell reads whole before it does any of them: a message that was cut on its
# way arms nothing. A guardian takes the name `guardian.new` away, which shows us that it runs.
_START = """
dk_start() {{
  umask 077
  cd -- {folder} || exit {not_written}
  rm -f guardian guardian.new
  printf %s {text} >guardian.part && mv -f guardian.part {script} || exit {not_written}
  dk_payloads || exit {not_written}
  printf '%s %s-%s %s\\n' {within} {token} "$$" {does} >guardian.part &&
    printf '%s\\n' {runner} "$PATH" {record} >>guardian.part &&
    mv -f guardian.part guardian.new || exit {not_written}
  for dk_way in {ways}; do
    dk_may_$dk_way || continue
    dk_go || {{ sleep 2; dk_go; }} # the one before may still have the unit's name
    dk_tries=100
    while [ -e guardian.new ] && [ $dk_tries -gt 0 ]; do
      dk_tries=$((dk_tries - 1))
      sleep 0.05 2>/dev/null || sleep 1
    done
    if [ ! -e guardian.new ]; then echo $dk_way; return; fi
  done
  rm -f guardian.new undo-restart.sh*
  exit {not_started}
}}
dk_go() {{ dk_by_$dk_way </dev/null >/dev/null 2>&1; }}
dk_start
"""


def start_words(layout: Layout, user: str) -> tuple[str, ...]:
    """Return the command by which root starts the guardian of *layout*, to run as *user*."""
    return (
        "/usr/bin/systemd-run",
        *("--quiet", "--collect", f"--unit={_unit(layout)}", "--property=KillMode=process"),
        *(f"--uid={user}", "/bin/sh", _script(layout), layout.root),
    )


def ways(layout: Layout) -> str:
    """Return shell functions that say which of `WAYS` there are to start it, and that go them."""
    words = ['"--uid=$(id -un)"' if w == "--uid=" else quote(w) for w in start_words(layout, "")]
    named = {"unit": _unit(layout), "script": _script(layout), "root": layout.root}
    return f'dk_system() {{ "$@" {" ".join(words)}; }}' + fill(_WAYS, **named)


def start(
    session: Session,
    run: str,
    payloads: Sequence[str],
    within: int,
    does: Does,
    record: Mapping[str, Any],
) -> str:
    """
    Put a guardian on a host and start it; one that is armed there already ends.

    Args:
        session: the host.
        run: which holds the lock there.
        payloads: messages for the runner, in the order in which they are to be carried out.
        within: seconds without a heartbeat until it fires.
        does: bring the code back, or leave the new code.
        record: what it writes when it fires.

    Returns:
        One of `WAYS`, or `NOWHERE`.

    Raises:
        TransportError: it cannot be written there.
    """
    layout = session.layout
    files = [
        f"undo-restart.sh{f'.{number:02}' if number else ''}" for number in range(len(payloads))
    ]
    written = [fill("printf %s {} >{}", *pair) for pair in zip(payloads, files, strict=True)]
    script = fill(
        _START,
        folder=layout.run(run),
        text=host_script("guardian.sh"),
        script=_script(layout),
        within=within,
        token=token_hex(4),
        does=does,
        runner=session.runner,
        record=json.dumps(record, ensure_ascii=False, separators=(",", ":")),
        ways=WAYS,
        not_written=NOT_WRITTEN,
        not_started=NOT_STARTED,
    )
    put = "dk_payloads() {\n" + " &&\n".join(written or [":"]) + "\n}\n"
    done = session.query(ways(layout) + put + script, check=False)
    if done.exit_code == NOT_STARTED:
        return NOWHERE
    if not done.ok:
        raise TransportError(
            f"{session.name}: the guardian cannot be put into {layout.run(run)}: "
            f"{done.errors.strip() or f'exit {done.exit_code}'}"
        )
    return done.output.strip()


def _script(layout: Layout) -> str:
    # One name for all versions, so that one rule of sudo does; who reads it keeps what he opened.
    return f"{layout.private}/bin/guardian.sh"


def _unit(layout: Layout) -> str:
    return f"deploykit-guardian-{hashlib.sha256(layout.root.encode()).hexdigest()[:8]}"
