"""Rights on a host: which commands sudo must allow, and what to say when it does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from deploykit.errors import ConfigurationError
from deploykit.shell import fill

__all__ = ["WRONG_PASSWORD", "asked", "missing", "rule"]

WRONG_PASSWORD = "wrong"  # noqa: S105  # the word that a look prints, not a password


def asked(program: str, commands: Iterable[Sequence[str]]) -> str:
    """
    Return shell that prints `may=…` for each of *commands* that sudo allows.

    Args:
        program: such as `systemctl`.
        commands: its arguments, one sequence a command.
    """
    once = 'if may_root {words}; then echo {may}; elif [ "$?" = 2 ]; then echo {wrong}; break; fi\n'
    lines = [
        fill(
            once,
            words=[program, *command],
            may=f"may={' '.join(command)}",
            wrong=f"password={WRONG_PASSWORD}",
        )
        for command in commands
    ]
    return f"while :; do\n{''.join(lines)}break\ndone\n"


def rule(user: str, program: str, command: Sequence[str]) -> str:
    """Return the line of sudoers that lets *user* run exactly that command."""
    words = [re.sub(r"([,:=\\*?\[\]!])", r"\\\1", word) for word in command]
    return f"{user} ALL=(root) NOPASSWD: {program} {' '.join(words)}"


def missing(label: str, host: str, rules: Sequence[str], *, wrong_password: bool) -> Exception:
    """Return the error that says which *rules* of sudo are missing for the service *label*."""
    if wrong_password:
        return ConfigurationError(
            f"{host}: the sudo password is wrong, or sudo knows no such user",
            state="nothing was touched",
            then="see the sudo= of this Host in deploy.py",
        )
    lines = "\n".join(f"    {line}" for line in rules)
    return ConfigurationError(
        f"{host}: no right to control {label}; add to /etc/sudoers.d/deploykit there:\n{lines}",
        state="nothing was touched",
        then=f"as root on {host}: visudo -f /etc/sudoers.d/deploykit",
    )
