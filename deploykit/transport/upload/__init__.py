"""Bringing a tree of files to a host: what it has is copied there, the rest is sent."""

from __future__ import annotations

from deploykit.transport.upload.bringing import upload
from deploykit.transport.upload.present import Earlier

__all__ = ["Earlier", "upload"]
