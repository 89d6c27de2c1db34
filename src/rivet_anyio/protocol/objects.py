"""Python objects as plain values, and what stands for JavaScript's ``undefined``.

`plain_form` says what an object becomes that `values.prepare` has no kind of its own for: the
fields of a class, the text of a date. It is what msgspec makes of the same object, and pydantic of
its models.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import sys
import uuid
from collections.abc import Mapping, Set
from functools import lru_cache
from typing import Any

import msgspec

__all__ = ["UNDEFINED", "jsonable", "plain_form"]


class _Undefined:
    """The class of `UNDEFINED`, which is its only instance."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNDEFINED"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Any = _Undefined()
"""JavaScript's ``undefined``, in what is sent: an argument that takes its default at the server.

It is falsy. What arrives as ``undefined`` is None. The ``json`` encoding up to RivetKit 2.2 and
connection params cannot carry it: a `TypeError`.
"""

_LEAVES = (
    *(type(None), int, float, str, bytes, bytearray, memoryview, enum.Enum, _Undefined),
    *(dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal, msgspec.Struct),
)


def plain_form(value: Any) -> Any:
    """What an object becomes, one level of it; the object itself where there is no other form.

    Raises:
        TypeError: pydantic cannot dump it, for the reason that is the cause.
    """
    kind: Any = type(value)
    if isinstance(value, msgspec.Struct):
        return _struct_fields(value)
    if hasattr(kind, "get_secret_value"):
        raise TypeError(
            f"a {kind.__name__} hides its value: send .get_secret_value(), from a model by a "
            "@field_serializer"
        )
    if hasattr(kind, "__pydantic_serializer__"):
        return _dumped(value, kind)
    if isinstance(value, type):
        return value
    if dataclasses.is_dataclass(value):
        return _fields(value, [field.name for field in dataclasses.fields(value)])
    if hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
        return _fields(value, [name for name in names if not name.startswith("_")])
    return _text(value)


def _text(value: Any) -> Any:
    """Dates, times, UUIDs and decimals as msgspec writes them, instances of subclasses too."""
    if isinstance(value, dt.datetime):
        parts = value.timetuple()[:6]
        return dt.datetime(*parts, value.microsecond, value.tzinfo, fold=value.fold)
    if isinstance(value, dt.date):
        return dt.date.isoformat(value)
    if isinstance(value, dt.time):
        return msgspec.to_builtins(dt.time.fromisoformat(dt.time.isoformat(value)))
    if isinstance(value, dt.timedelta):
        exact = dt.timedelta(value.days, value.seconds, value.microseconds)
        return msgspec.to_builtins(exact)
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    return value


def _fields(value: Any, names: list[str]) -> dict[str, Any]:
    pairs = ((name, getattr(value, name, msgspec.UNSET)) for name in names)
    return {name: item for name, item in pairs if item is not msgspec.UNSET}


def _struct_fields(value: msgspec.Struct) -> Any:
    """One level of a msgspec Struct, as msgspec itself would write it."""
    config = value.__struct_config__
    attributes = value.__struct_fields__
    items = [getattr(value, attribute) for attribute in attributes]
    if config.array_like:
        return [config.tag, *items] if config.tag is not None else items
    fields = {config.tag_field: config.tag} if config.tag_field else {}
    defaults: list[Any] = [msgspec.NODEFAULT] * len(items)
    if config.omit_defaults and value.__struct_defaults__:
        defaults[-len(value.__struct_defaults__) :] = value.__struct_defaults__
    named = zip(value.__struct_encode_fields__, items, defaults, strict=True)
    return fields | {
        name: item
        for name, item, default in named
        if item is not msgspec.UNSET and not _is_default(item, default)
    }


def _is_default(item: Any, default: Any) -> bool:
    """Whether msgspec leaves a field out: the very default, or an empty one that it makes."""
    factory = getattr(default, "factory", None)
    return item is default or (factory in (list, dict, set) and type(item) is factory and not item)


def _dumped(value: Any, kind: Any) -> Any:
    """A pydantic model, or an instance of a pydantic dataclass, by its serialization aliases."""
    try:
        if hasattr(value, "model_dump"):
            return jsonable(value.model_dump(mode="python", by_alias=True, warnings="none"))
        adapter = _adapter_of(kind)
        return jsonable(adapter.dump_python(value, mode="python", by_alias=True, warnings="none"))
    except (ValueError, RecursionError) as exc:
        raise TypeError(f"pydantic cannot dump a {kind.__name__}") from exc


@lru_cache(256)
def _adapter_of(dataclass: Any) -> Any:
    return sys.modules["pydantic"].TypeAdapter(dataclass)


def jsonable(tree: Any) -> Any:
    """What pydantic dumped, with objects that only pydantic knows (URLs, paths) as JSON has them.

    Secrets stay what they are, since pydantic would write asterisks.

    Raises:
        ValueError: pydantic cannot write an object.
    """
    if isinstance(tree, Mapping):
        return {jsonable(key): jsonable(item) for key, item in tree.items()}
    if isinstance(tree, tuple):
        return tuple(jsonable(item) for item in tree)
    if isinstance(tree, list):
        return [jsonable(item) for item in tree]
    if isinstance(tree, Set):
        return {jsonable(item) for item in tree}
    if isinstance(tree, _LEAVES) or hasattr(tree, "get_secret_value"):
        return tree
    return sys.modules["pydantic_core"].to_jsonable_python(tree, by_alias=True)
