"""Actor keys: a sequence of strings, written by servers as one string.

Parts are joined by ``/``; ``\\`` and ``/`` inside a part are escaped by ``\\``, an empty part is
written ``\\0`` and the empty key ``/``. (RivetKit, ``actor/keys.ts``.)
"""

from __future__ import annotations

from collections.abc import Sequence

from .._checks import check_text
from .._text import in_short

__all__ = ["Key", "escape_key", "parse_key", "unescape_key"]

Key = str | Sequence[str]
"""A key as users write it: one string, or a sequence of them."""

_EMPTY_KEY = "/"
_EMPTY_PART = "\\0"


def parse_key(key: Key) -> tuple[str, ...]:
    """Check a key and return its parts: one string is a key of one part.

    Raises:
        TypeError: when the key is neither a string nor a sequence of strings.
        ValueError: when a part has a lone surrogate.
    """
    if isinstance(key, str):
        parts: tuple[str, ...] = (key,)
    elif isinstance(key, Sequence) and not isinstance(key, (bytes, bytearray, memoryview)):
        parts = tuple(key)
    else:
        raise TypeError(f"a key is a string or a sequence of strings, not {in_short(key)}")
    for part in parts:
        if not isinstance(part, str):
            raise TypeError(
                f"a key's parts are strings, not {in_short(part)} in {in_short(key)}: use str()"
            )
    return tuple(check_text("a key's part", part) for part in parts)


def escape_key(parts: Sequence[str]) -> str:
    """The serialized form of a key, as the management API takes it."""
    if not parts:
        return _EMPTY_KEY
    return "/".join(
        part.replace("\\", "\\\\").replace("/", "\\/") if part else _EMPTY_PART for part in parts
    )


def unescape_key(text: str | None) -> tuple[str, ...]:
    """The parts of a serialized key; None and ``/`` are the empty key."""
    if not text or text == _EMPTY_KEY:
        return ()
    parts: list[str] = []
    part = ""
    empty = escaped = False
    for char in text:
        if escaped:
            escaped = False
            if char == "0":
                empty = True
            else:
                part += char
        elif char == "\\":
            escaped = True
        elif char == "/":
            parts.append("" if empty else part)
            part, empty = "", False
        else:
            part += char
    if escaped:
        part += "\\"
    parts.append("" if empty else part)
    return tuple(parts)
