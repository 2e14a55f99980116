"""
The code blocks of a page of the documentation.

Two kinds mean something to the tests, and readers need not know of either:

- a `{code-block}` with a `:caption:` is a file of that name in the reader's project;
- a `console` block holds commands after `$ `, each followed by what it prints. A line with `…`
  alone stands for any number of lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
FENCE: Final = re.compile(r"^(?P<ticks>`{3,})(?P<info>.*)$")
NUMBERS: Final = (
    (r"\d{8}T\d{6}\.?\d*Z-[0-9a-f]{8}", "RUN"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z| UTC|\+00:00)?", "WHEN"),
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"SHA256:[A-Za-z0-9+/]{43}", "FINGERPRINT"),
    (r"\b[0-9a-f]{12,}\b", "DIGEST"),
    (r"\b[\w.-]+@[\w.-]+(?=$|\s)", "WHO"),
    (r"\b\d+(\.\d+)? ?(ms|s|min|h)\b", "LONG"),
    (r"\b\d+(\.\d+)? ?(B|kB|MB|GB|KiB|MiB|GiB|bytes)\b", "SIZE"),
    (r"\b\d+\.\d+\.\d+\b", "VERSION"),
    (r"(-{3,}|─{3,})", "RULE"),
    (r"[ \t]+", " "),
)
"""What differs from run to run, and what stands for it when outputs are compared."""


@dataclass(frozen=True)
class Block:
    """
    A fenced block.

    Args:
        language: its language, or the directive in braces.
        caption: the file it is, if it says so.
        text: what is in it, without the fences and options.
        first: number of the first line of *text* in the page, from 0.
    """

    language: str
    caption: str
    text: str
    first: int


@dataclass(frozen=True)
class Command:
    """
    A command of a `console` block.

    Args:
        text: what is typed.
        output: what the page says it prints.
        line: number of the line with `$ ` in the page, from 0.
    """

    text: str
    output: tuple[str, ...]
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of *page*, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").split("\n")
    at = 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        if not fence:
            at += 1
            continue
        end = lines.index(fence["ticks"], at + 1)
        found.append(_block(fence["info"].strip(), lines[at + 1 : end], at + 1))
        at = end + 1
    return found


def _block(info: str, lines: list[str], first: int) -> Block:
    language, caption = info.removeprefix("{code-block}").strip(), ""
    if info.startswith("{"):
        while lines and re.match(r":[\w-]+:", lines[0]):
            name, _, value = lines[0][1:].partition(":")
            caption = value.strip() if name == "caption" else caption
            lines, first = lines[1:], first + 1
    return Block(language, caption, "\n".join(lines) + "\n", first)


def commands(block: Block) -> Iterator[Command]:
    """Return the commands of a `console` *block*, each with its output."""
    lines = block.text.rstrip("\n").split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        output = tuple(lines[start + 1 : end])
        yield Command(lines[start].removeprefix("$ "), output, block.first + start)


def agree(said: tuple[str, ...], printed: tuple[str, ...]) -> bool:
    """Return whether what a page *said* is what was *printed*, but for what differs each time."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(steady(line)) + r"\n" for line in said
    )
    text = "".join(f"{steady(line)}\n" for line in printed)
    return re.fullmatch(pattern, text) is not None


def steady(line: str) -> str:
    """Return *line* with what differs from run to run replaced by what stands for it."""
    for pattern, word in NUMBERS:
        line = re.sub(pattern, word, line)
    return line.strip()
