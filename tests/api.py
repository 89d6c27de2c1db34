"""What users can rely on, as text: public names with their signatures.

``python -m tests.api`` writes it to tests/api.txt, which `test_api` compares with the code.

Public are the names in ``__all__`` of `rivet_anyio` and of those modules below it that have one
and no underscore in their path. A package without ``__all__`` is private, and so is what it holds.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import rivet_anyio

SNAPSHOT = Path(__file__).parent / "api.txt"

_PACKAGE = rivet_anyio.__name__
_STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}
_PROTOCOLS = (
    "__call__",
    "__aenter__",
    "__enter__",
    "__aiter__",
    "__iter__",
    "__await__",
    "__len__",
)


def main() -> None:
    SNAPSHOT.write_text(surface(), "utf-8")


def surface() -> str:
    """The whole public surface, one name a line."""
    lines: list[str] = []
    for module in public_modules():
        lines += ["", f"module {module.__name__}", ""]
        for name in sorted(module.__all__):
            lines += described(name, getattr(module, name))
    return "\n".join([*lines[1:], ""])


def public_modules(module: ModuleType = rivet_anyio) -> Iterator[ModuleType]:
    """This module, and the public ones below it."""
    yield module
    below = pkgutil.iter_modules(getattr(module, "__path__", []))
    for name in sorted(found.name for found in below if not found.name.startswith("_")):
        child = importlib.import_module(f"{module.__name__}.{name}")
        if hasattr(child, "__all__"):
            yield from public_modules(child)


def described(name: str, thing: Any) -> list[str]:
    """Lines for one public name."""
    if isinstance(thing, type):
        return list(_class(name, thing))
    if inspect.isroutine(thing):
        return list(_function(name, thing))
    return [f"{name}: {_kind(thing)}"]


def _class(name: str, cls: type) -> Iterator[str]:
    bases = ", ".join(_type(base) for base in cls.__bases__ if base is not object)
    yield f"class {name}({bases})" if bases else f"class {name}"
    if issubclass(cls, enum.Enum):
        yield from (f"    {member.name} = {member.value!r}" for member in cls)
        return
    members = _members(cls)
    if _is_ours(inspect.getattr_static(cls, "__init__", None)) or _has_fields(cls):
        yield from (f"    {line}" for line in _function("__init__", cls))
    for field, annotation in sorted(_fields(cls).items()):
        yield f"    {field}: {_type(annotation)}"
    for member, value in sorted(members.items()):
        if isinstance(value, property):
            result = inspect.get_annotations(value.fget).get("return", "?") if value.fget else "?"
            settable = " (settable)" if value.fset else ""
            yield f"    {member} -> {_type(result)}{settable}"
        elif isinstance(value, (classmethod, staticmethod)):
            kind = type(value).__name__
            yield from (f"    {kind} {line}" for line in _function(member, value.__func__))
        elif inspect.isfunction(value):
            yield from (f"    {line}" for line in _function(member, value))


def _members(cls: type) -> dict[str, Any]:
    """What the class and those of its bases that are ours define, by name."""
    found: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        if owner.__module__.partition(".")[0] == _PACKAGE:
            found.update(vars(owner))
    return {
        name: value
        for name, value in found.items()
        if not name.startswith("_") or name in _PROTOCOLS
    }


def _fields(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        if owner.__module__.partition(".")[0] == _PACKAGE:
            found.update(inspect.get_annotations(owner))
    return {name: what for name, what in found.items() if not name.startswith("_")}


def _has_fields(cls: type) -> bool:
    return hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__struct_fields__")


def _is_ours(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] == _PACKAGE


def _function(name: str, function: Any) -> Iterator[str]:
    variants = typing.get_overloads(function) if inspect.isfunction(function) else []
    for variant in variants or [function]:
        signature = _signature(variant)
        # What returns a coroutine by its signature may only be marked as a coroutine function.
        is_async = "-> Coroutine[" not in signature and inspect.iscoroutinefunction(
            inspect.unwrap(function)
        )
        yield f"{'async def' if is_async else 'def'} {name}{signature}"


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    parts: list[str] = []
    star = slash = False
    for parameter in signature.parameters.values():
        kind = parameter.kind
        if slash and kind is not parameter.POSITIONAL_ONLY:
            parts.append("/")
        slash = kind is parameter.POSITIONAL_ONLY
        if kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or kind in (parameter.VAR_POSITIONAL, parameter.KEYWORD_ONLY)
        text = _STARS.get(kind, "") + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_type(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        parts.append(text)
    if slash:
        parts.append("/")
    result = ""
    if signature.return_annotation is not signature.empty:
        result = f" -> {_type(signature.return_annotation)}"
    return f"({', '.join(parts)}){result}"


def _default(value: Any) -> str:
    """The default, without what differs from run to run or from one Python to the next."""
    if value is ...:
        return "..."
    if inspect.isroutine(value) or isinstance(value, type):
        return str(getattr(value, "__qualname__", value))
    text = repr(value)
    return "..." if re.search(r" at 0x|<factory>", text) else text


def _type(annotation: Any) -> str:
    """An annotation as it is written, or as it would be."""
    if isinstance(annotation, str):
        return annotation
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not typing.get_args(annotation):
        is_private = any(part.startswith("_") for part in annotation.__module__.split("."))
        # Where a class lives is the business of its package.
        module = annotation.__module__.partition(".")[0] if is_private else annotation.__module__
        prefix = "" if module in ("builtins", _PACKAGE) else f"{module}."
        return prefix + annotation.__qualname__
    return str(annotation).replace("typing.", "")


def _kind(thing: Any) -> str:
    """For what is neither class nor function: a constant, an alias, a fixture."""
    if typing.get_origin(thing) is not None:
        return f"TypeAlias = {_type(thing)}"
    return type(thing).__name__.lstrip("_")


if __name__ == "__main__":
    main()
