"""The house: which part of the package may import which.

Each storey imports only what stands below it; parts of one storey do not import each other.
Imports for type checkers count as well. `cli` and `stubs` reach further down than the public
surface: each private module that they use is listed, so that a change there is seen.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import rivet_anyio

PACKAGE = Path(rivet_anyio.__file__).parent
NAME = rivet_anyio.__name__

STOREYS = (
    "_text",
    "_version _log _errors",
    "_checks",
    "_types _retry _observe _actions",
    "protocol _io",
    "_config _convert _http _websocket",
    "_gateway",
    "_connection _raw_websocket",
    "_handle",
    "_typed",
    "_client",
    "_live _management _forward _watch otel",
    "_health types",
    "__init__ testing stubs cli",
)
"""Lowest first."""

REACHING_DOWN = {
    "cli": {
        "_actions",
        "_client",
        "_connection.connection",
        "_connection.events",
        "_connection.status",
        "_errors",
        "_gateway.context",
        "_gateway.errors",
        "_gateway.management",
        "_gateway.open",
        "_gateway.server",
        "_handle",
        "_http.pool",
        "_http.proxy",
        "_http.transport",
        "_io.connect",
        "_io.backend",
        "_io.tls",
        "_management",
        "_raw_websocket",
        "_text",
        "_version",
        "_watch",
        "protocol.addressing",
        "protocol.dialect",
        "protocol.codec",
        "protocol.management",
        "protocol.verdicts",
    },
    "stubs": {
        "_checks",
        "_client",
        "_errors",
        "_gateway.management",
        "_typed.actor",
        "_typed.members",
    },
}
"""What these import below the public surface."""


@cache
def modules() -> dict[str, Path]:
    """All modules of the package, by their names without the package's own."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


@cache
def imports_of(module: str) -> frozenset[str]:
    """The modules of the package that one of them imports, wherever in its text."""
    path = modules()[module]
    own = ["rivet_anyio", *module.split(".")] if module != "__init__" else ["rivet_anyio"]
    package = own if path.name == "__init__.py" else own[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            names = [f"{whole}.{alias.name}" for alias in node.names]
        for name in names:
            known = _known(name)
            if known is not None and known != module:
                found.add(known)
    return frozenset(found)


def _known(name: str) -> str | None:
    """The module that an absolute name leads to, None outside the package."""
    if name != NAME and not name.startswith(f"{NAME}."):
        return None
    rest = name.removeprefix(NAME).removeprefix(".")
    while rest and rest not in modules():
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


def part_of(module: str) -> str:
    return module.partition(".")[0]


def storey_of(part: str) -> int:
    for number, storey in enumerate(STOREYS):
        if part in storey.split():
            return number
    raise AssertionError(f"{part} has no storey: add it to STOREYS")


def edges() -> Iterator[tuple[str, str]]:
    for module in modules():
        for imported in imports_of(module):
            if part_of(module) != part_of(imported):
                yield module, imported


def test_imports_go_down_only() -> None:
    wrong = sorted(
        f"{module} imports {imported}"
        for module, imported in edges()
        if storey_of(part_of(imported)) >= storey_of(part_of(module))
        and (part_of(module), part_of(imported)) != ("testing", "__init__")
        and not (
            part_of(module) in ("cli", "stubs")
            and part_of(imported) in ("__init__", "stubs", "testing")
        )
    )
    assert wrong == []


def test_no_circle_between_files() -> None:
    graph = {module: set(imports_of(module)) for module in modules() if module != "__init__"}
    for imported in graph.values():
        imported.discard("__init__")
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as circle:
        raise AssertionError(" -> ".join(circle.args[1])) from None


def test_packages_of_private_parts_are_docstrings_only() -> None:
    for module, path in modules().items():
        if path.name == "__init__.py" and module.startswith("_") and module != "__init__":
            (only,) = ast.parse(path.read_text()).body
            assert isinstance(only, ast.Expr), path


def test_who_reaches_down_is_listed() -> None:
    public = {"__init__", "testing", "stubs", "cli", "otel"}
    reached: dict[str, set[str]] = defaultdict(set)
    for module, imported in edges():
        if part_of(module) in REACHING_DOWN and part_of(imported) not in public:
            reached[part_of(module)].add(imported)
    assert dict(reached) == REACHING_DOWN
