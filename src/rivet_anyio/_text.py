"""Text that a peer may have written, for errors and logs."""

from __future__ import annotations

import re

__all__ = ["on_one_line"]

# Control characters and ends of lines, what changes the direction of text, halves of surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_MOST = 4096
"""Characters."""


def on_one_line(text: str) -> str:
    """The text with escapes, as in Python, for all that would change what stands around it.

    Printed as it came, it could write lines of its own into a log, command a terminal, or reverse
    what follows it. Lone surrogates cannot be written at all. Long text is cut: it may have as many
    megabytes as an answer, and each attempt to reconnect would log it.
    """
    if len(text) > _MOST:
        text = f"{text[:_MOST]}... ({len(text)} characters in all)"
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
