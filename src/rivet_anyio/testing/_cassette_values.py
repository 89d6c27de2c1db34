"""Values in a cassette: JSON, with markers for what JSON lacks.

Bytes, sets and large integers have the markers of RivetKit's json encoding. Dates, numbers that
are not finite, and maps whose keys are not all strings have markers of their own.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Callable
from typing import Any

__all__ = ["from_json", "json_text", "to_json"]

_SAFE = 2**53


def to_json(value: Any) -> Any:
    """The JSON tree of a value that the library has read.

    Raises:
        TypeError: a cassette has no form for it.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if -_SAFE <= value <= _SAFE else ["$BigInt", str(value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else ["$Number", str(value)]
    if isinstance(value, (list, tuple)):
        items = [to_json(item) for item in value]
        if len(items) == 2 and isinstance(items[0], str) and items[0].startswith("$"):
            items[0] = "$" + items[0]
        return items
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: to_json(item) for key, item in value.items()}
        return ["$Map", [[to_json(key), to_json(item)] for key, item in value.items()]]
    if isinstance(value, bytes):
        return ["$Uint8Array", base64.b64encode(value).decode()]
    if isinstance(value, dt.datetime):
        return ["$Date", value.isoformat()]
    if isinstance(value, (set, frozenset)):
        # Python's order differs in each process.
        return ["$Set", sorted((to_json(item) for item in value), key=json_text)]
    raise TypeError(f"a cassette has no form for {type(value).__name__} {value!r:.60}")


def from_json(tree: Any) -> Any:
    """The value of a JSON tree.

    Raises:
        ValueError: a marker is unknown, or its content is not what belongs there.
    """
    if isinstance(tree, dict):
        return {key: from_json(item) for key, item in tree.items()}
    if not isinstance(tree, list):
        return tree
    if len(tree) == 2 and isinstance(tree[0], str) and tree[0].startswith("$"):
        return _marked(tree[0], tree[1])
    return [from_json(item) for item in tree]


def json_text(tree: Any) -> str:
    """A JSON tree as text; equal trees have the same."""
    return json.dumps(tree, ensure_ascii=False, sort_keys=True)


def _marked(name: str, content: Any) -> Any:
    if name.startswith("$$"):
        return [name[1:], from_json(content)]
    if name not in _MARKERS:
        raise ValueError(
            f"the marker {name!r} is unknown: write '${name}' for a list that begins with {name!r}"
        )
    try:
        return _MARKERS[name](content)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"the content of {name} is {content!r:.60}: {exc}") from None


def _set(items: Any) -> set[Any]:
    return {_hashable(from_json(item)) for item in items}


def _map(pairs: Any) -> dict[Any, Any]:
    return {_hashable(from_json(key)): from_json(item) for key, item in pairs}


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    return frozenset(value) if isinstance(value, set) else value


_MARKERS: dict[str, Callable[[Any], Any]] = {
    "$BigInt": int,
    "$Number": float,
    "$Uint8Array": lambda text: base64.b64decode(text, validate=True),
    "$Date": dt.datetime.fromisoformat,
    "$Set": _set,
    "$Map": _map,
}
