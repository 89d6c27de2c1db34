"""Every name of the package in a public signature can be imported from a public module."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import rivet_anyio
import rivet_anyio.otel
import rivet_anyio.stubs
import rivet_anyio.testing
import rivet_anyio.types

from .test_options import NOT_OPTIONS

ROOT = Path(__file__).parent.parent
MODULES = (
    rivet_anyio,
    rivet_anyio.types,
    rivet_anyio.testing,
    rivet_anyio.otel,
    rivet_anyio.stubs,
)
PUBLIC = {name for module in MODULES for name in module.__all__}

MADE_BY_THE_PACKAGE = {
    *("ActionCall", "ActorAccessor", "ActorHandle", "ActorList", "ActorWebSocket", "Connection"),
    *("EventStream", "StatusStream", "Network", "Faults", "ActorConnection", "ActorContext"),
    *("ActorQueue", "ActorSchedule", "ActorSocket", "QueueMessage", "Log"),
    *("Feed", "Live", "Direction", "NetworkFault"),
}
"""Classes that users get and never construct: how they are made is not public."""


def internal() -> set[str]:
    """What website/public.py leaves out; it cannot be imported where griffe is not installed."""
    module = ast.parse((ROOT / "website" / "public.py").read_text("utf-8"))
    (value,) = (
        node.value
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "INTERNAL"
    )
    names: set[str] = ast.literal_eval(value)
    return names


def public_functions() -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """The place, the module and the function of each signature."""
    hidden = internal()
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isroutine(thing):
                yield name, thing.__module__, thing
            elif inspect.isclass(thing):
                for attribute, member in vars(thing).items():
                    function = getattr(member, "__func__", getattr(member, "fget", member))
                    shown = not attribute.startswith("_") or (
                        attribute == "__init__" and name not in MADE_BY_THE_PACKAGE
                    )
                    shown = shown and f"{name}.{attribute}" not in hidden
                    if shown and inspect.isfunction(function):
                        place = name if attribute == "__init__" else f"{name}.{attribute}"
                        yield place, function.__module__, inspect.unwrap(function)


def names_in(function: Callable[..., Any]) -> set[str]:
    """The names in its annotations, without quoted values and modules in front."""
    found: set[str] = set()
    for annotation in inspect.get_annotations(function).values():
        text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        text = re.sub(r"(['\"]).*?\1", "", text)
        found.update(name.split(".")[-1] for name in re.findall(r"[A-Za-z_][\w.]*", text))
    return found


@cache
def own_names(module: str) -> set[str]:
    """What a module defines, or imports from the rest of the package; without type variables."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign) and "TypeVar(" not in ast.unparse(node.value):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def test_names_in_signatures_can_be_imported() -> None:
    missing = []
    for place, module_name, function in public_functions():
        private = names_in(function) & own_names(module_name) - PUBLIC
        missing += [f"{place}: {name}, of {module_name}" for name in sorted(private)]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("name", rivet_anyio.types.__all__)
def test_types_are_those_of_the_signatures(name: str) -> None:
    """`rivet_anyio.types` only gives names to what is defined elsewhere."""
    thing = getattr(rivet_anyio.types, name)
    owner = getattr(thing, "__module__", "")
    if owner.startswith("rivet_anyio"):
        assert getattr(importlib.import_module(owner), name) is thing


def test_the_reference_leaves_out_what_the_library_calls() -> None:
    called = {name for name, why in NOT_OPTIONS.items() if why == "called by the library"}
    assert {name for name in called if "." in name} <= internal()
