"""What an edited `deploy.py` says otherwise than an unfinished run, which goes on as it began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deploykit import codec
from deploykit.stage import AnyStage

__all__ = ["differences"]


def differences(run: Mapping[str, AnyStage], declared: Mapping[str, AnyStage]) -> tuple[str, ...]:
    """
    Return a line for each thing in which the stages that are *declared* now differ.

    Args:
        run: the stages by name, as the run's journal has them.
        declared: the stages by name, as `deploy.py` has them.
    """
    lines = [f"{name}: only in the run" for name in run if name not in declared]
    lines += [f"{name}: only in deploy.py" for name in declared if name not in run]
    common = [name for name in run if name in declared]
    for name in common:
        was, now = (dict(_leaves(codec.encode(side[name]))) for side in (run, declared))
        lines += [
            f"{name}: {path} is {_said(was, path)} in the run, {_said(now, path)} in deploy.py"
            for path in {**was, **now}
            if was.get(path) != now.get(path)
        ]
    if common != [name for name in declared if name in run]:
        lines.append(f"the order in the run is {', '.join(common)}")
    return tuple(lines)


def _leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every plain value of what `codec.encode` returned, under where it stands."""
    if isinstance(data, dict) and "fields" in data:
        yield f"{path or 'stage'} (class)", data["type"].rpartition(":")[2]
        for name, value in data["fields"].items():
            yield from _leaves(value, f"{path}.{name}" if path else name)
    elif isinstance(data, dict):
        for key, value in data["map"].items():
            yield from _leaves(value, f"{path}[{key!r}]")
    elif isinstance(data, list) and any(isinstance(item, dict | list) for item in data):
        for index, item in enumerate(data):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, data


def _said(side: Mapping[str, Any], path: str) -> str:
    return repr(side[path]) if path in side else "not there"
