"""How the documentation is built: `python3 noxfile.py -s docs`. Nothing here uses the network."""

import sys
from pathlib import Path

from deploykit import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "deploykit"
copyright = "2026, the authors of deploykit"  # noqa: A001 - the name Sphinx gives it
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_line",
    "docstrings",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "deploykit"
html_copy_source = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

default_role = "code"  # docstrings put names between single backticks
add_module_names = False
toc_object_entries = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# There is no intersphinx: a build must not need the network. So names that other projects
# document cannot be linked, and are listed here.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|pathlib|typing|datetime)\..*"),  # Python's own library
    (r"py:.*", r"(Path|Any|Callable|Iterable|Mapping|Sequence|Set|optional)"),  # the same, short
]
nitpick_ignore = [("py:class", "deploykit.stage.P")]  # a type variable: any stage's own plan
