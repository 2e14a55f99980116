"""
Stages and plans as JSON and back: self-describing, so that a journal needs no `deploy.py`.

A dataclass becomes `{"type": "module:qualname", "fields": {…}}`; lists come back as tuples.
Fields whose metadata says `{"journal": False}` (secret values) are left out.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from deploykit.errors import JournalError

__all__ = ["decode", "encode"]


def encode(value: Any) -> Any:
    """
    Return *value* as what `json.dumps` takes.

    Raises:
        TypeError: a value that a journal cannot hold, named with its place.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        fields = {f.name: encode(getattr(value, f.name)) for f in _journalled(kind)}
        return {"type": f"{kind.__module__}:{kind.__qualname__}", "fields": fields}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, AbstractSet):
        return [encode(item) for item in sorted(value)]
    if isinstance(value, Mapping):
        return {"map": {str(key): encode(item) for key, item in value.items()}}
    raise TypeError(f"a journal cannot hold {type(value).__name__}: {value!r}")


def decode(data: Any) -> Any:
    """
    Return the value that *data* describes.

    Raises:
        JournalError: a class that cannot be imported here, or whose fields have changed.
    """
    if isinstance(data, list):
        return tuple(decode(item) for item in data)
    if not isinstance(data, dict):
        return data
    if "map" in data:
        return {key: decode(item) for key, item in data["map"].items()}
    kind = _find(data["type"])
    try:
        return kind(**{name: decode(item) for name, item in data["fields"].items()})
    except TypeError as error:
        raise JournalError(
            f"the journal's {data['type']} does not fit the class of that name here: {error}",
            then="use the version of deploykit (or of your own stage) that made the run",
        ) from error


def _journalled(kind: type[Any]) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(kind) if f.init and f.metadata.get("journal", True)]


def _find(path: str) -> type[Any]:
    module, _, qualname = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in qualname.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise JournalError(
            f"the journal names {path}, which cannot be imported here: {error}",
            then="run this where that stage's module can be imported",
        ) from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise JournalError(f"the journal names {path}, which is not a stage, plan or value")
    return found
