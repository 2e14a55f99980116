"""systemd units, of the system or of the deploy user."""

# ruff: noqa: ARG002  # every kind of service is asked in the same words

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from deploykit.errors import ConfigurationError
from deploykit.services import rights
from deploykit.services.base import Place, Verb
from deploykit.services.facts import Facts, State, ground, observed
from deploykit.shell import fill
from deploykit.stage import Planning

__all__ = ["Systemd"]

PROGRAM = "/usr/bin/systemctl"
SHOWN = (
    *("LoadState", "ActiveState", "SubState", "Result", "MainPID", "ControlGroup", "NRestarts"),
    *("ExecMainCode", "ExecMainStatus", "WorkingDirectory", "ExecStart", "User", "CanReload"),
    *("TriggeredBy",),
)
STATES: dict[str, State] = {
    "active": "active",
    "reloading": "starting",
    "refreshing": "starting",
    "activating": "starting",
    "deactivating": "starting",
    "failed": "failed",
}
PROCESSLESS = (".timer", ".socket", ".path", ".target", ".mount", ".automount", ".swap", ".slice")
NO_SYSTEMD = 90
EXITED, KILLED, DUMPED = "1", "2", "3"  # CLD_EXITED and its siblings, in ExecMainCode

# A unit's control group holds all of its processes; the folder differs between the versions of
# control groups. Where none can be read, the main process and its descendants stand for it.
_LOOK = """
{control}
dk_shown=$(dk_control show -p {properties} {unit} 2>/dev/null) || exit {no_systemd}
printf '%s\\n' "$dk_shown"
dk_value() {{ printf '%s\\n' "$dk_shown" | sed -n "s/^$1=//p"; }}
dk_main=$(dk_value MainPID) dk_group=$(dk_value ControlGroup) dk_pids=
if [ -n "$dk_group" ]; then
  for dk_top in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -f "$dk_top$dk_group/cgroup.procs" ] || continue
    dk_pids=$(find "$dk_top$dk_group" -name cgroup.procs -exec cat '{{}}' + 2>/dev/null)
    [ -z "$dk_pids" ] || break
  done
fi
[ -n "$dk_pids" ] || [ "${{dk_main:-0}}" = 0 ] || dk_pids=$(dk_family "$dk_main")
dk_processes {root} $dk_pids
"""
_SYSTEM = """dk_control() { systemctl "$@"; }
dk_change() { as_root systemctl "$@"; }
dk_may() { may_root systemctl "$@"; }"""
_USER = """: "${XDG_RUNTIME_DIR:=/run/user/$(id -u)}"
export XDG_RUNTIME_DIR
dk_control() { systemctl --user "$@"; }
dk_change() { systemctl --user "$@"; }
dk_may() { :; }"""
# Five starts in ten seconds are the limit, after which a unit stays down; this forgets them.
_RESET = "if dk_may reset-failed {unit}; then dk_change reset-failed {unit} 2>/dev/null || :; fi"


@dataclass(frozen=True)
class Systemd:
    """
    A systemd unit.

    Args:
        unit: its name, such as `shop.service`.
        user: it is a unit of the deploy user's own systemd.
        reload: reload it instead of restarting it, so that no connection is lost.
    """

    unit: str
    user: bool = False
    reload: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*", self.unit):
            raise ConfigurationError(f"Systemd({self.unit!r}): not the name of one unit")

    @property
    def label(self) -> str:
        """See `Service`."""
        return self.unit

    @property
    def stoppable(self) -> bool:
        """See `Service`."""
        return True

    @property
    def reloads(self) -> bool:
        """See `Service`."""
        return self.reload

    @property
    def provable(self) -> bool:
        """See `Service`."""
        return True

    def survey(self, ctx: Planning, place: Place, verbs: AbstractSet[Verb]) -> Facts:
        """See `Service`."""
        where = ctx.host.name
        commands = self._commands(verbs)
        wanted = [] if self.user else commands
        script = self.look_script(place) + rights.asked("systemctl", wanted) + (_LINGER * self.user)
        found = ctx.host.query(script, check=False)
        if not found.ok:
            raise _refused(f"{where}: systemctl{' --user' * self.user} does not answer there")
        values, _ = observed(found.output)
        self._check_unit(where, {key: lines[-1] for key, lines in values.items()})
        if "stop" in verbs and "start" in verbs:
            self._check_triggers(ctx, values.get("TriggeredBy", [""])[-1].split())
        allowed = set(values.get("may", ()))
        absent = [words for words in wanted if " ".join(words) not in allowed]
        if [words for words in absent if words[0] != "reset-failed"]:
            user = (values.get("user") or [""])[-1]
            lines = [rights.rule(user, PROGRAM, words) for words in absent]
            wrong = rights.WRONG_PASSWORD in values.get("password", ())
            raise rights.missing(self.label, where, lines, wrong_password=wrong)
        return self.read(found.output)

    def look_script(self, place: Place) -> str:
        """See `Service`."""
        return ground(place.layout) + _LOOK.format(
            control=self._functions,
            properties=",".join(SHOWN),
            no_systemd=NO_SYSTEMD,
            unit=fill("{}", self.unit),
            root=fill("{}", place.layout.root),
        )

    def read(self, text: str) -> Facts:
        """See `Service`."""
        values, facts = observed(text)
        last = {key: lines[-1] for key, lines in values.items()}
        main = int(last.get("MainPID") or 0)
        active, sub = last.get("ActiveState", ""), last.get("SubState", "")
        return replace(
            facts,
            state=STATES.get(active, "stopped"),
            said=_said(active, sub, last),
            mains=(main,) if main else (),
            restarts=int(last.get("NRestarts") or 0),
            places=(last.get("WorkingDirectory", ""), *values.get("ExecStart", ())),
            account=last.get("User", "") or ("" if self.user else "root"),
            processless=self.unit.endswith(PROCESSLESS),
        )

    def restart_script(self, place: Place) -> str:
        """See `Service`."""
        if not self.reload:
            return self._script(f"{_RESET}\ndk_change restart {{unit}}")
        return self._script(
            "if dk_control is-active -q {unit}; then dk_change reload {unit}\n"
            f"else {_RESET}\ndk_change start {{unit}}; fi"
        )

    def start_script(self, place: Place) -> str:
        """See `Service`."""
        return self._script(f"{_RESET}\ndk_change start {{unit}}")

    def stop_script(self, place: Place) -> str:
        """See `Service`."""
        return self._script(f"dk_change stop {{unit}}\n{_RESET}")

    def identity_script(self, place: Place) -> str:
        """See `Service`."""
        if self.reload:
            return ""  # the main process stays, whatever its workers run
        return self._script('dk_identity "$(dk_control show -p MainPID --value {unit})"')

    def sudo_rules(self, user: str, verbs: AbstractSet[Verb]) -> tuple[str, ...]:
        """See `Service`."""
        if self.user:
            return ()
        return tuple(rights.rule(user, PROGRAM, words) for words in self._commands(verbs))

    def log_script(self) -> str:
        """See `Service`."""
        return self._script(f"journalctl -q --no-pager -o cat -n 10 {self._of_unit}")

    def where_to_look(self) -> str:
        """See `Service`."""
        return f"journalctl {self._of_unit.format(unit=self.unit)}"

    @property
    def _of_unit(self) -> str:
        return "--user -u {unit}" if self.user else "-u {unit}"

    @property
    def _functions(self) -> str:
        return _USER if self.user else _SYSTEM

    def _script(self, template: str) -> str:
        return f"{self._functions}\n{fill(template, unit=self.unit)}\n"

    def _commands(self, verbs: AbstractSet[Verb]) -> list[tuple[str, str]]:
        needed: list[str] = []
        if "restart" in verbs:
            needed += ["reload", "start"] if self.reload else ["restart"]
        needed += [verb for verb in ("start", "stop") if verb in verbs and verb not in needed]
        return [(verb, self.unit) for verb in [*needed, "reset-failed"]]

    def _check_unit(self, where: str, shown: dict[str, str]) -> None:
        known = shown.get("LoadState", "")
        if known == "not-found":
            raise _refused(
                f"{where}: systemd knows no unit {self.unit}",
                f"on {where}: systemctl list-unit-files --type=service",
            )
        if known != "loaded":
            raise _refused(
                f"{where}: the unit {self.unit} cannot be used: it is {known or 'not loaded'}",
                f"on {where}: systemctl status {self.unit}",
            )
        if self.reload and shown.get("CanReload") == "no":
            raise _refused(f"{where}: {self.unit} cannot be reloaded: it has no ExecReload=")
        if self.user and shown.get("linger") == "no":
            raise _refused(
                f"{where}: services of {shown.get('user')} end with its last login",
                f"as root on {where}: loginctl enable-linger {shown.get('user')}",
            )

    def _check_triggers(self, ctx: Planning, triggers: list[str]) -> None:
        """Refuse a pause that a socket or a timer would end by starting the unit again."""
        paused = {label for stage in ctx.stages.values() for label in getattr(stage, "pauses", ())}
        for trigger in triggers:
            script = self._script(f"dk_control is-active -q {fill('{}', trigger)}")
            if trigger not in paused and ctx.host.query(script, check=False).ok:
                raise _refused(
                    f"{ctx.host.name}: {self.unit} would not stay stopped: {trigger} starts it",
                    f"name both, in this order: Pause({trigger!r}, {self.unit!r})",
                )


_LINGER = '[ -e "/var/lib/systemd/linger/$(id -un)" ] || [ "$(id -u)" = 0 ] || echo linger=no\n'


def _said(active: str, sub: str, shown: dict[str, str]) -> str:
    """Return the state as systemd has it, with the reason where there is one."""
    words = f"{active} ({sub})"
    if shown.get("Result", "success") != "success":
        words += f", {shown['Result']}"
    code, status = shown.get("ExecMainCode"), shown.get("ExecMainStatus", "")
    if active != "active" and code == EXITED:
        words += f", its process ended with exit code {status}"
    elif active != "active" and code in (KILLED, DUMPED):
        words += f", its process was ended by signal {status}"
    if int(shown.get("NRestarts") or 0):
        words += f", restarted {shown['NRestarts']} times"
    return words


def _refused(what: str, then: str = "") -> ConfigurationError:
    return ConfigurationError(what, state="nothing was touched", then=then)
