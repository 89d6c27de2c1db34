"""Text that a peer may have written, and values of the user's, for errors and logs."""

from __future__ import annotations

import re

__all__ = ["escaped", "in_short", "on_one_line"]

# Control characters and ends of lines, what changes the direction of text, halves of surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_MOST = 4096
"""Characters."""


def escaped(text: str, *, keeps_lines: bool = False) -> str:
    """The text with escapes, as in Python, for all that would change what stands around it.

    Printed as it came, it could write lines of its own into a log, command a terminal, or reverse
    what follows it. Lone surrogates cannot be written at all.

    Args:
        text: The text.
        keeps_lines: Whether newlines and tabs stay.
    """
    return _UNSAFE.sub(_escape_in_lines if keeps_lines else _escape, text)


def on_one_line(text: str) -> str:
    """As `escaped`, and cut where it is long.

    It may have as many megabytes as an answer, and each attempt to reconnect would log it.
    """
    if len(text) > _MOST:
        text = f"{text[:_MOST]}... ({len(text)} characters in all)"
    return escaped(text)


def in_short(value: object, most: int = 100) -> str:
    """A value that the user gave, as Python writes it: on one line, and cut where that is long.

    Where Python writes none, its class. A `__repr__` may raise, integers of more than 4300 digits
    and lists that nest deeply have none; the message is about something else.
    """
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__} object>"
    return escaped(text if len(text) <= most else f"{text[:most]}...")


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _escape_in_lines(found: re.Match[str]) -> str:
    return found[0] if found[0] in "\n\t" else _escape(found)
