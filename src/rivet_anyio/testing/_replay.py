"""How to run one simulation again, as Python to be pasted."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["replay_text"]


def replay_text(main: Callable[..., Any], args: tuple[Any, ...], *, seed: int, backend: str) -> str:
    """How to simulate only this, with the program's arguments.

    Where an argument or the program itself has no name and no literal, it says what to give to
    `explore` instead.
    """
    try:
        written = ", ".join([_written(main), *map(_written, args)])
    except ValueError as exc:
        return f"explore the same program with seeds=[{seed}], backends=[{backend!r}] ({exc})"
    return f"simulate({written}, seed={seed}, backend={backend!r})"


def _written(value: Any) -> str:
    """Python that makes the value, where names are those of its module.

    Raises:
        ValueError: there is none.
    """
    cls = type(value)
    if isinstance(value, enum.Enum):
        return f"{_named(cls)}.{value.name}"
    if value is None or value is ... or cls in (bool, int, str, bytes):
        return "..." if value is ... else repr(value)
    if cls is float:
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    if cls in (list, set, frozenset, tuple):
        items = ", ".join(map(_written, value))
        if cls is list:
            return f"[{items}]"
        if cls is tuple:
            return f"({items},)" if len(value) == 1 else f"({items})"
        return f"{{{items}}}" if cls is set and items else f"{cls.__name__}([{items}])"
    if cls is dict:
        return f"{{{', '.join(f'{_written(k)}: {_written(v)}' for k, v in value.items())}}}"
    if cls is range:
        return repr(value)
    if cls is partial:
        parts = [_written(value.func), *map(_written, value.args)]
        parts += [f"{name}={_written(each)}" for name, each in value.keywords.items()]
        return f"functools.partial({', '.join(parts)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field for field in dataclasses.fields(value) if field.init]
        parts = [f"{field.name}={_written(getattr(value, field.name))}" for field in fields]
        return f"{_named(cls)}({', '.join(parts)})"
    return _named(value)


def _named(value: Any) -> str:
    """The name of a class or a function; a function inside another is named as it is there."""
    name = getattr(value, "__qualname__", None)
    # A bound method's name says nothing of its object.
    if isinstance(name, str) and getattr(value, "__self__", None) is None:
        name = name.rpartition("<locals>.")[2]
        if all(part.isidentifier() for part in name.split(".")):
            return name
    text = repr(value)
    raise ValueError(
        f"{text if len(text) <= 100 else f'{text[:97]}...'} cannot be written as Python"
    )
