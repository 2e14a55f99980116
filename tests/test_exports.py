"""Meta: what modules say of themselves is so, and the error tree is the one that is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from types import ModuleType

import pytest

import deploykit
from deploykit import errors

ERRORS = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
# DESIGN, "Exit codes".
CODES = {
    "DeploykitError": 1,
    "ConfigurationError": 2,
    "TransportError": 2,
    "RollbackFailed": 3,
    "LockHeld": 4,
    "Refused": 5,
    "JournalError": 5,
    "Interrupted": 130,
}


def modules() -> list[str]:
    """Return the names of all modules, but for those that run when they are imported."""
    found = pkgutil.walk_packages(deploykit.__path__, "deploykit.")
    return [module.name for module in found if not module.name.endswith("__main__")]


def source(module: ModuleType) -> ast.Module:
    """Return the syntax tree of *module*."""
    return ast.parse(inspect.getsource(module))


@pytest.mark.parametrize("name", modules())
def test_what_a_module_exports_is_there(name: str) -> None:
    """Every name of `__all__` exists, stands there once, and the list is sorted."""
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert [each for each in exported if not hasattr(module, each)] == []
    assert len(set(exported)) == len(exported)


@pytest.mark.parametrize("name", ["deploykit.errors", "deploykit.stage", "deploykit.release"])
def test_all_public_classes_are_exported(name: str) -> None:
    """The modules that users read hide nothing that is public by its name."""
    module = importlib.import_module(name)
    classes = {node.name for node in source(module).body if isinstance(node, ast.ClassDef)}
    public = {each for each in classes if not each.startswith("_")}
    assert public <= set(module.__all__)


def tree() -> dict[str, str]:
    """Return the error tree of the docstring: each class's parent."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"(?P<lead>(?:[│ ] {3})*(?:[├└]── )?)(?P<name>[A-Z]\w+)\b", line)
        if found and found["name"] in ERRORS:
            depth = len(found["lead"]) // 4
            above[depth:] = [found["name"]]
            parents[found["name"]] = above[depth - 1] if depth else ""
    return parents


def test_every_error_stands_in_the_tree() -> None:
    """The docstring's tree and the classes' own are the same tree."""
    documented = tree()
    assert set(documented) == set(ERRORS)
    for name, parent in documented.items():
        if parent:
            assert ERRORS[name].__bases__ == (ERRORS[parent],), name


@pytest.mark.parametrize("name", sorted(set(tree()) - {"PlanWrote"}))
def test_every_error_has_the_exit_code_of_the_design(name: str) -> None:
    """A class without a number of its own there has its parent's; `PlanWrote` is no answer."""
    kind = ERRORS[name]
    assert issubclass(kind, errors.DeploykitError)
    expected = next(CODES[each.__name__] for each in kind.__mro__ if each.__name__ in CODES)
    assert kind.exit_code == expected


def test_the_tree_says_the_same_numbers() -> None:
    """What the docstring has in brackets is what the class has."""
    numbers = dict(re.findall(r"(\w+) \((\d+)\)", errors.__doc__ or ""))
    assert {name: int(code) for name, code in numbers.items()} == {
        name: vars(errors)[name].exit_code for name in numbers
    }
    assert set(CODES) <= set(numbers)
