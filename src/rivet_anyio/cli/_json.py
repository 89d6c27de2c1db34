"""Values as JSON text, also those that JSON has no form for."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from typing import Any

__all__ = ["json_text", "parse_json"]


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as one JSON document.

    What JSON lacks is written as two-element arrays: ``["$Uint8Array", base64]``,
    ``["$Set", items]``, ``["$Map", pairs]``. A datetime is its ISO 8601 text; NaN and the
    infinities are null, as JavaScript writes them.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(_plain(value), ensure_ascii=False, indent=indent, separators=separators)
    if text.isprintable() or (text.isascii() and "\x7f" not in text):
        return text
    # Control characters beyond ASCII's, and lone surrogates, which UTF-8 has no form for.
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text
    ).replace("\x7f", "\\u007f")


def parse_json(text: str) -> Any:
    """A JSON document of RFC 8259: no NaN, no infinities.

    Raises:
        ValueError: when it is none.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _plain(item) for key, item in value.items()}
        return ["$Map", [[_plain(key), _plain(item)] for key, item in value.items()]]
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return ["$Set", [_plain(item) for item in value]]
    if isinstance(value, bytes):
        return ["$Uint8Array", base64.b64encode(value).decode()]
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return value
