"""
The directive `command-line`: every verb of the program, with its help as the program prints it.

So the reference cannot say anything else than `deploykit VERB --help` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from deploykit.cli.app import app

WIDTH = 88


class CommandLine(SphinxDirective):
    """Puts a section with the help of each verb where it stands."""

    def run(self) -> list[nodes.Node]:
        """Return the sections, in the order of `deploykit --help`."""
        return [self._section(title, text) for title, text in helps()]

    def _section(self, title: str, text: str) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(title)])
        section += nodes.title("", "", nodes.literal(text=title))
        block = nodes.literal_block(text, text)
        block["language"] = "text"
        section += block
        self.state.document.note_implicit_target(section, section)
        return section


def helps() -> Iterator[tuple[str, str]]:
    """Return the words of every verb, `deploykit` itself first, and its help."""
    from typer.main import get_command

    yield from _helps(get_command(app), None, "deploykit")


def _helps(command: Any, above: Any, words: str) -> Iterator[tuple[str, str]]:
    context = command.context_class(
        command,
        info_name=words if above is None else words.rpartition(" ")[2],
        parent=above,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
    )
    yield words, command.get_help(context)
    for name, below in getattr(command, "commands", {}).items():
        yield from _helps(below, context, f"{words} {name}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
