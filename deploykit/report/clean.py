"""Text from elsewhere, made safe to show: what a host prints must not steer a terminal."""

from __future__ import annotations

import re

__all__ = ["visible"]

ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links, the clipboard
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]?"  # the rest
)
# C0 without tab, DEL, C1, and what turns the direction of writing around.
CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""
    Return one line of *text* as a terminal would leave it, without any control character.

    >>> visible("10 %\r50 %\r\x1b[32m100 %\x1b[0m\r")
    '100 %'
    """
    shown = text.rstrip("\r\n").rpartition("\r")[2]  # a progress line overwrites itself
    return CONTROLS.sub("", ESCAPES.sub("", shown))
