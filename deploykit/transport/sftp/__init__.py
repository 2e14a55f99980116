"""Bringing a tree of files to a host over SFTP."""

from __future__ import annotations

from deploykit.transport.sftp.present import Earlier
from deploykit.transport.sftp.upload import upload

__all__ = ["Earlier", "upload"]
