"""One revision file, parsed and never executed: who it is, and what its two functions do."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from deploykit.errors import ConfigurationError

__all__ = ["RevisionFile", "read_revision"]

DROPS = {"drop_column": "column", "drop_table": "table"}


@dataclass(frozen=True)
class RevisionFile:
    """
    What a revision file says.

    Args:
        path: relative to the packed source.
        id: the revision.
        down: what it comes after; several for a merge, none for a base.
        depends_on: what else must be there before.
        labels: of its branch.
        message: the first line of its docstring.
        reversible: whether it has a `downgrade` that does something.
        upgrade_drops: columns (`table.column`) and tables that `upgrade` drops, as far as it shows.
        downgrade_drops: those that `downgrade` drops.
        own_sql: whether `downgrade` executes statements that were not looked into.
    """

    path: str
    id: str
    down: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    message: str = ""
    reversible: bool = True
    upgrade_drops: tuple[str, ...] = ()
    downgrade_drops: tuple[str, ...] = ()
    own_sql: bool = False

    @property
    def line(self) -> str:
        """Return id and message."""
        return f"{self.id} {self.message}".strip()


def read_revision(file: Path, path: str) -> RevisionFile:
    """
    Parse *file*.

    Args:
        file: where it is.
        path: what to call it.

    Raises:
        ConfigurationError: it is no revision file, or says what it is only when executed.
    """
    try:
        tree = ast.parse(file.read_bytes(), filename=path)
    except (OSError, SyntaxError, ValueError) as error:
        raise _unusable(path, f"cannot be read: {error}") from error
    values = {name: value for node in tree.body for name, value in _assigned(node)}
    if "revision" not in values:
        raise _unusable(path, "names no revision")
    ids = _words(path, "revision", values["revision"])
    if len(ids) != 1:
        raise _unusable(path, "names no revision")
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    upgrade, downgrade = functions.get("upgrade"), functions.get("downgrade")
    elsewhere = "downgrade" in values or _imports(tree, "downgrade")
    doc = (ast.get_docstring(tree) or "").strip().splitlines()
    return RevisionFile(
        path=path,
        id=ids[0],
        down=_words(path, "down_revision", values.get("down_revision")),
        depends_on=_words(path, "depends_on", values.get("depends_on")),
        labels=_words(path, "branch_labels", values.get("branch_labels")),
        message=doc[0].strip() if doc else "",
        reversible=elsewhere or (downgrade is not None and not _empty(downgrade)),
        upgrade_drops=_drops(upgrade),
        downgrade_drops=_drops(downgrade),
        own_sql=elsewhere or _calls(downgrade, "execute"),
    )


def _unusable(path: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"the migration {path} {why}", state="nothing was touched")


def _assigned(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    """Return the module's names that *node* assigns to."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        return [(node.target.id, node.value)]
    if not isinstance(node, ast.Assign):
        return []
    pairs = [pair for target in node.targets for pair in _unpacked(target, node.value)]
    return [(name.id, value) for name, value in pairs if isinstance(name, ast.Name)]


def _unpacked(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Return the single assignments that `a, b = 1, 2` makes."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=False))
    return [(target, value)]


def _words(path: str, name: str, value: ast.expr | None) -> tuple[str, ...]:
    """Return a revision identifier, or several, as a tuple."""
    if value is None:
        return ()
    try:
        found = ast.literal_eval(value)
    except ValueError as error:
        raise _unusable(path, f"computes its {name}: that is known only by executing it") from error
    many = found if isinstance(found, tuple | list | set | frozenset) else (found,)
    words = tuple(word for word in many if word is not None)
    if not all(isinstance(word, str) for word in words):
        raise _unusable(path, f"has a {name} that is no text")
    return tuple(sorted(words)) if isinstance(found, set | frozenset) else words


def _imports(tree: ast.Module, name: str) -> bool:
    return any(
        name in {alias.asname, alias.name}
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )


def _empty(function: ast.FunctionDef) -> bool:
    """Return whether nothing is done: a docstring, `pass`, `...`, or only an exception."""
    return all(
        isinstance(node, ast.Pass | ast.Raise)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Return) and node.value is None)
        for node in function.body
    )


def _calls(function: ast.FunctionDef | None, name: str) -> bool:
    return function is not None and any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == name
        for node in ast.walk(function)
    )


def _drops(function: ast.FunctionDef | None) -> tuple[str, ...]:
    """Return what *function* drops by `op.drop_…` and by batch operations."""
    if function is None:
        return ()
    batches = _batches(function)
    found: dict[str, None] = {}
    for node in ast.walk(function):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr not in DROPS:
            continue
        owner = node.func.value
        table = batches.get(owner.id) if isinstance(owner, ast.Name) else None
        words = [_text(argument) for argument in node.args]
        words += [_text(k.value) for k in node.keywords if k.arg in ("table_name", "column_name")]
        parts = [table] if table else []
        parts += words[: (2 if node.func.attr == "drop_column" else 1) - len(parts)]
        found[f"{DROPS[node.func.attr]} {'.'.join(parts)}".strip()] = None
    return tuple(found)


def _batches(function: ast.FunctionDef) -> dict[str, str]:
    """Return the tables of `with op.batch_alter_table("table") as name`."""
    found = {}
    for node in ast.walk(function):
        if not isinstance(node, ast.With):
            continue
        for item in node.items:
            call, name = item.context_expr, item.optional_vars
            if isinstance(call, ast.Call) and isinstance(name, ast.Name) and call.args:
                found[name.id] = _text(call.args[0])
    return found


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "?"
