"""Keeping secrets out of what a stage repeats of an application's own words."""

from __future__ import annotations

from deploykit.scrub import Scrubber
from deploykit.stage import Planning

__all__ = ["hidden"]


def hidden(ctx: Planning, text: str) -> str:
    """Return *text*, a page or a log, without the secret variables of the pipeline's `env_file`."""
    scrubber = Scrubber()
    for name, value in ctx.env.items():
        scrubber.learn_variable(name, value)
    return scrubber.text(text)
