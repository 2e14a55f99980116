"""`deploykit demo`: watch a deploy, and one that undoes itself, on a server made for it."""

from importlib.util import find_spec

import typer

from deploykit.errors import ConfigurationError

EXAMPLE = "deploykit demo"
EXTRA = ("asyncssh", "supervisor")


def demo() -> None:
    """
    Watch deploys, one of which undoes itself, on this machine.

    Three releases of a small application go to a throw-away server. The third is broken, and
    undoes itself. Needs no host and leaves nothing behind.
    """
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the demo needs {' and '.join(missing)}, not installed here",
            then="pip install 'deploykit-ssh[demo]'",
        )
    from deploykit.demo.show import show

    raise typer.Exit(show())
