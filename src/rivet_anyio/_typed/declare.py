"""The class statement of a typed actor: its members become callers and descriptors."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, ClassVar, get_args, get_origin

from .members import Action, Event, Queue, check_now, is_stub, server_name_of
from .plain import Plain

__all__ = ["declare_members", "declare_types"]


def declare_types(cls: type[Any], actor: type[Any]) -> None:
    """Take params and input from ``TypedActor[Params, Input]`` among the bases."""
    for base in cls.__dict__.get("__orig_bases__", ()):
        if get_origin(base) is actor:
            params, input = get_args(base)
            cls._rivet_params = Plain(params, f"params of {cls.__qualname__}", secret=True)
            cls._rivet_input = Plain(input, f"input of {cls.__qualname__}")
            check_now(cls._rivet_params.check)
            check_now(cls._rivet_input.check)


def declare_members(cls: type[Any], reserved: frozenset[str]) -> None:
    """Replace stubs by callers, and give events and queues their names."""
    for name, declaration in _declared(cls).items():
        if name not in cls.__dict__:
            setattr(cls, name, declaration)
        elif not isinstance(cls.__dict__[name], type(declaration)):
            declared = type(declaration).__name__
            raise TypeError(
                f"{cls.__qualname__}.{name} is declared as {declared}[...], and its value is "
                f"{cls.__dict__[name]!r}: give it none, or {declared.lower()}(...)"
            )
    names = dict(cls._rivet_names)
    for name, member in list(cls.__dict__.items()):
        kind, server_name = _declare_member(cls, name, member, reserved)
        if kind is None:
            continue
        if name in reserved:
            raise TypeError(
                f"{cls.__qualname__}.{name}: handles and connections have a {name!r} of their own; "
                f"give the {kind} another name here, and the server's name by "
                f"{_WAY_OUT[kind].format(name=server_name)}"
            )
        for (other_kind, other), taken in names.items():
            if other_kind == kind and taken == server_name and other != name:
                raise TypeError(
                    f"{cls.__qualname__}: {other!r} and {name!r} are both the {kind} "
                    f"{server_name!r} at the server"
                )
        names[kind, name] = server_name
    cls._rivet_names = names


def _declare_member(
    cls: type[Any], name: str, member: Any, reserved: frozenset[str]
) -> tuple[str | None, str]:
    """Put one member in its place; returns its kind and the server's name, None for others."""
    if isinstance(member, (Event, Queue)):
        return type(member).__name__.lower(), member._place(cls, name, cls._rivet_rename)
    if name.startswith("_"):
        return None, ""
    place = f"{cls.__qualname__}.{name}"
    if not inspect.isfunction(member):
        wrapped = getattr(member, "fget", None) or getattr(member, "__func__", None)
        if inspect.iscoroutinefunction(wrapped):
            raise TypeError(
                f"{place}: an action is a plain method: remove @{type(member).__name__}"
            )
        return None, ""
    if not inspect.iscoroutinefunction(member):
        raise TypeError(
            f"{place}: an action is declared by 'async def'; give another method a "
            "name that begins with an underscore"
        )
    if not is_stub(member):
        raise TypeError(
            f"{place}: the body of an action is '...', it runs at the server; give another "
            "method a name that begins with an underscore"
        )
    server_name = server_name_of(member, cls._rivet_rename)
    if name not in reserved:
        setattr(cls, name, _caller(cls, member, Action(cls, member, server_name)))
    return "action", server_name


def _caller(cls: type[Any], stub: Callable[..., Any], action: Action) -> Callable[..., Any]:
    """The method that stands where the stub was."""

    @functools.wraps(stub)
    async def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self, cls):
            raise TypeError(
                f"{action.place} is called on a handle or a connection, not on the class: "
                f"client.get_or_create({cls.__name__}, key) returns a handle"
            )
        return await self._call(action, args, kwargs)

    return call


def _declared(cls: type[Any]) -> dict[str, Event[Any] | Queue[Any, Any]]:
    """What the class annotates as event or queue, by name."""
    # Code that is run by exec may have a module's name and no module.
    module: dict[str, Any] = getattr(sys.modules.get(cls.__module__), "__dict__", {})
    declared: dict[str, Event[Any] | Queue[Any, Any]] = {}
    for name, annotation in inspect.get_annotations(cls).items():
        kind = _kind_of(annotation, module)
        if kind is not None:
            declared[name] = kind()
    return declared


def _kind_of(annotation: Any, module: dict[str, Any]) -> type[Event[Any] | Queue[Any, Any]] | None:
    """`Event`, `Queue` or None; what stands in brackets may not be defined yet."""
    if isinstance(annotation, str):
        text = annotation.strip()
        path = _PATH.match(text)
        if path is None:
            return None
        try:
            kind = functools.reduce(getattr, path[0].split(".")[1:], module[path[0].split(".")[0]])
        except (KeyError, AttributeError):
            return None
        if kind is ClassVar:
            return _kind_of(text[path.end() :].strip("[] "), module)
    else:
        kind = get_origin(annotation) or annotation
        if kind is ClassVar:
            return _kind_of(get_args(annotation)[0], module)
    return kind if kind in (Event, Queue) else None


_PATH = re.compile(r"\w+(\s*\.\s*\w+)*")

_WAY_OUT = {
    "action": '@action("{name}")',
    "event": 'event(name="{name}")',
    "queue": 'queue(name="{name}")',
}
