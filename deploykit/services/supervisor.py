"""Programs of supervisord."""

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

__all__ = ["Supervisor"]

STATES: dict[str, State] = {
    "RUNNING": "active",
    "STARTING": "starting",
    "BACKOFF": "starting",
    "STOPPING": "starting",
    "EXITED": "failed",
    "FATAL": "failed",
}
KNOWS_NONE = 4  # supervisorctl status: no such program, or nobody answers

# supervisord's socket may be root's alone; asking for its own pid tells whether we may talk to it.
_CONTROL = """
dk_control() {{
  if supervisorctl{config} pid >/dev/null 2>&1; then supervisorctl{config} "$@"
  else as_root supervisorctl{config} "$@"; fi
}}
dk_pids() {{ sed -n 's/^[^ ]* *RUNNING *pid \\([0-9]*\\),.*/\\1/p'; }}
"""
_LOOK = """
dk_shown=$(dk_control status {program} 2>/dev/null)
dk_code=$?
[ "$dk_code" != {knows_none} ] || exit {knows_none}
printf '%s\\n' "$dk_shown" | sed 's/^/status=/'
dk_mains=$(printf '%s\\n' "$dk_shown" | dk_pids)
for dk_main in $dk_mains; do echo "main=$dk_main"; done
[ -z "$dk_mains" ] || dk_processes {root} $(dk_family $dk_mains)
"""


@dataclass(frozen=True)
class Supervisor:
    """
    A program that supervisord runs.

    Args:
        program: its name, or `group:*` for all programs of a group.
        config: supervisord's configuration file, if it is not where supervisorctl looks.
    """

    program: str
    config: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^\s:*-][^\s:*]*(:(\*|[^\s:*]+))?", self.program):
            raise ConfigurationError(f"Supervisor({self.program!r}): not the name of a program")

    @property
    def label(self) -> str:
        """See `Service`."""
        return self.program

    @property
    def stoppable(self) -> bool:
        """See `Service`."""
        return True

    @property
    def reloads(self) -> bool:
        """See `Service`."""
        return False

    @property
    def provable(self) -> bool:
        """See `Service`."""
        return True

    def survey(self, ctx: Planning, place: Place, verbs: AbstractSet[Verb]) -> Facts:
        """See `Service`."""
        where = ctx.host.name
        commands = self._commands(verbs)
        plain = f"supervisorctl{self._config} pid >/dev/null 2>&1"
        script = (
            f"if {plain}; then echo plain=yes; else\n"
            f"echo program=$(command -v supervisorctl)\necho me=$(id -un)\n"
            f"{rights.asked('supervisorctl', commands)}fi\n"
        )
        values, _ = observed(ctx.host.query(script, check=False).output)
        if "plain" not in values:
            self._check_rights(where, values, commands)
        found = ctx.host.query(self.look_script(place), check=False)
        facts = self.read(found.output)
        if found.ok and facts.said:
            return facts
        what = f"supervisord knows no program {self.program}"
        if "plain" not in values:
            what = f"supervisord does not answer, or knows no program {self.program}"
        raise ConfigurationError(
            f"{where}: {what}",
            state="nothing was touched",
            then=f"on {where}: supervisorctl{self._config} update",
        )

    def look_script(self, place: Place) -> str:
        """See `Service`."""
        words = {"program": fill("{}", self.program), "root": fill("{}", place.layout.root)}
        look = _LOOK.format(knows_none=KNOWS_NONE, **words)
        return ground(place.layout) + self._functions + look

    def read(self, text: str) -> Facts:
        """See `Service`."""
        values, facts = observed(text)
        words = [line.split() for line in values.get("status", ())]
        found = [line[1] for line in words if len(line) > 1]
        states = {STATES.get(state, "stopped") for state in found}
        worst = next((s for s in ("failed", "stopped", "starting") if s in states), "active")
        return replace(
            facts,
            state=worst if states else "stopped",  # type: ignore[arg-type]  # one of the literals
            said=", ".join(dict.fromkeys(found)),
            mains=tuple(int(pid) for pid in values.get("main", ())),
        )

    def restart_script(self, place: Place) -> str:
        """See `Service`."""
        return self._script("restart")

    def start_script(self, place: Place) -> str:
        """See `Service`."""
        # `start` fails for a program that runs; `status` exits with 0 only if all of them do.
        return self._functions + fill(
            "dk_control status {0} >/dev/null 2>&1 || dk_control start {0}\n", self.program
        )

    def stop_script(self, place: Place) -> str:
        """See `Service`."""
        return self._script("stop")

    def identity_script(self, place: Place) -> str:
        """See `Service`."""
        pids = fill("$(dk_control status {} 2>/dev/null | dk_pids)", self.program)
        return f"{self._functions}\ndk_identity {pids}\n"

    def sudo_rules(self, user: str, verbs: AbstractSet[Verb]) -> tuple[str, ...]:
        """See `Service`."""
        program = "/usr/bin/supervisorctl"
        return tuple(rights.rule(user, program, words) for words in self._commands(verbs))

    def log_script(self) -> str:
        """See `Service`."""
        if "*" in self.program:
            return ""
        tail = fill("dk_control tail {} stderr 2>/dev/null | tail -n 10", self.program)
        return f"{self._functions}\n{tail}\n"

    def where_to_look(self) -> str:
        """See `Service`."""
        return f"supervisorctl{self._config} tail {self.program} stderr"

    @property
    def _config(self) -> str:
        return fill(" -c {}", self.config) if self.config else ""

    @property
    def _functions(self) -> str:
        return _CONTROL.format(config=self._config)

    def _script(self, verb: str) -> str:
        return f"{self._functions}\ndk_control {verb} {fill('{}', self.program)}\n"

    def _commands(self, verbs: AbstractSet[Verb]) -> list[tuple[str, ...]]:
        config = ("-c", self.config) if self.config else ()
        return [(*config, verb, self.program) for verb in ("status", *sorted(verbs))]

    def _check_rights(
        self, where: str, values: dict[str, list[str]], commands: list[tuple[str, ...]]
    ) -> None:
        program = values.get("program", [""])[-1]
        if not program:
            raise ConfigurationError(
                f"{where}: supervisorctl is not there, so {self.program} cannot be restarted",
                state="nothing was touched",
                then=f"as root on {where}: apt-get install supervisor",
            )
        allowed = set(values.get("may", ()))
        absent = [words for words in commands if " ".join(words) not in allowed]
        if absent:
            user = values.get("me", [""])[-1]
            lines = [rights.rule(user, program, words) for words in absent]
            wrong = rights.WRONG_PASSWORD in values.get("password", ())
            raise rights.missing(self.label, where, lines, wrong_password=wrong)
