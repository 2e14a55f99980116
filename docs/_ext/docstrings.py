"""
What Sphinx and its napoleon do not know of this project's docstrings.

They hold code between fences, as Markdown has them, where reStructuredText wants indentation; and
a colon in a property's sentence is a colon, where napoleon sees the end of a type.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

FENCE = "```"


def indented(lines: list[str]) -> list[str]:
    """Return *lines* with each fenced block as a literal block."""
    found: list[str] = []
    inside = False
    for line in lines:
        if line.strip().startswith(FENCE):
            inside = not inside
            language = line.strip().removeprefix(FENCE) or "text"
            found += ["", f".. code-block:: {language}", ""] if inside else [""]
        else:
            found.append(f"   {line}" if inside and line else line)
    return found


def _process(
    _app: Sphinx, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    lines[:] = indented(lines)
    if what == "property":
        lines.insert(0, r"\ ")  # renders as nothing; napoleon looks for a type in the first line


def setup(app: Sphinx) -> dict[str, bool]:
    """Change docstrings before anything else reads them."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
