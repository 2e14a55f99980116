"""Finds `deploy.py`, imports it, and picks the environment that was named."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from deploykit.environment import Environment, project_root
from deploykit.errors import ConfigurationError, DeploykitError, UnknownEnvironment

__all__ = ["find", "load", "pick"]

PLACES = ("deploy.py", "pipelines/deploy.py")


def find(file: Path | None = None) -> Path:
    """
    Return the file that declares the environments.

    Args:
        file: named by the user; otherwise `deploy.py`, else `pipelines/deploy.py`.

    Raises:
        ConfigurationError: there is none.
    """
    if file is not None:
        if not file.is_file():
            raise ConfigurationError(f"there is no file {str(file)!r}")
        return file
    for place in PLACES:
        if Path(place).is_file():
            return Path(place)
    raise ConfigurationError(
        f"neither deploy.py nor pipelines/deploy.py is in {Path.cwd()}",
        then="write one with: deploykit init",
    )


def load(file: Path) -> dict[str, Environment]:
    """
    Import *file* and return its environments by variable name, in order.

    Raises:
        ConfigurationError: it cannot be imported, or declares no environment.
    """
    project = project_root(file)
    spec = importlib.util.spec_from_file_location("deploy", file.resolve())
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["deploy"] = module  # so that stages declared in it are found by their module's name
    for folder in (str(project), str(file.resolve().parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except DeploykitError as error:
        error.what = f"{_place(file, error)}: {error.what}"
        raise
    except (Exception, SystemExit) as error:  # sys.exit(0) in deploy.py is not a success of a run
        raise ConfigurationError(
            f"{_place(file, error)}: {type(error).__name__}: {error}",
            state="nothing was touched",
        ) from error
    found = {
        name: value.bound(name, project)
        for name, value in vars(module).items()
        if isinstance(value, Environment) and not name.startswith("_")
    }
    if not found:
        raise ConfigurationError(
            f"{file} declares no environment",
            then="add one, such as: production = Environment(pipeline, hosts=[Host('…')])",
        )
    for name, count in Counter(environment.name for environment in found.values()).items():
        if count > 1:
            raise ConfigurationError(f"{file}: {count} environments are called {name!r}")
    return found


def pick(environments: Mapping[str, Environment], name: str) -> Environment:
    """
    Return the environment called *name*.

    Raises:
        UnknownEnvironment: there is none; suggests the nearest.
    """
    by_name = {environment.name: environment for environment in environments.values()}
    if name in by_name:
        return by_name[name]
    near = get_close_matches(name, by_name, 1)
    hint = f"did you mean {near[0]!r}?" if near else "there is no name like it"
    raise UnknownEnvironment(
        f"no environment is called {name!r}; {hint}",
        state=f"known: {', '.join(by_name)}",
    )


def _place(file: Path, error: BaseException) -> str:
    """Return `file:line` of the innermost frame of *error* in *file*."""
    if isinstance(error, SyntaxError) and error.filename == str(file.resolve()):
        return f"{file}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file.resolve())]
    return f"{file}:{lines[-1]}" if lines else str(file)
