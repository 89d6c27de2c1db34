"""Nothing that is walked through is a set: the order of objects in one depends on addresses.

A seed would be several runs, and sockets would close in another order each time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import rivet_anyio

SOURCES = Path(rivet_anyio.__file__).parent
COPIES = ("tuple", "list", "iter", "deque", "enumerate")


def sets_of(tree: ast.AST) -> Iterator[str]:
    """The attributes of objects that are sets; those of whole numbers have one order."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            kind = ast.unparse(node.annotation)
            if kind.startswith(("set[", "WeakSet[")) and kind != "set[int]":
                yield node.target.attr


def walked(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The attributes that are walked through, and where."""
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, (ast.For, ast.comprehension)):
            found = [node.iter]
        elif isinstance(node, ast.Starred):
            found = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found = node.args if node.func.id in COPIES else []
        for each in found:
            if isinstance(each, ast.Attribute):
                yield each.attr, each.lineno


def test_no_set_is_walked_through() -> None:
    trees = {path: ast.parse(path.read_text()) for path in sorted(SOURCES.rglob("*.py"))}
    sets = {name for tree in trees.values() for name in sets_of(tree)}
    assert sets, "no set is found: this test looks for something else"
    wrong = [
        f"{path.relative_to(SOURCES)}:{line}: {name}"
        for path, tree in trees.items()
        for name, line in walked(tree)
        if name in sets
    ]
    assert not wrong, "make it a dict, which keeps the order in which things came"
