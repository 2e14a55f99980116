"""The files of a host that is about to be changed."""

from __future__ import annotations

from deploykit.errors import ConfigurationError
from deploykit.files import Files
from deploykit.stage import Acting

__all__ = ["files_of"]


def files_of(ctx: Acting) -> Files:
    """
    Return the host's files; asked for anew before each effect, which is refused once we are fenced.

    Raises:
        ConfigurationError: the host has a shell, and another way is taken there.
    """
    files = ctx.host.sftp
    if files is None:
        raise ConfigurationError(f"{ctx.host.name} has a shell")
    return files
