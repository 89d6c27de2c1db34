"""What goes to stderr, and what would command a terminal."""

from __future__ import annotations

import sys

__all__ = ["in_a_row", "printable", "to_stderr"]


def to_stderr(text: str) -> None:
    """Write one line to stderr, come what may."""
    if sys.stderr is None:
        return
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except OSError:
        pass


def printable(text: str) -> str:
    """Text without what would command a terminal."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def in_a_row(text: str) -> str:
    """As `printable`, for what has one line, or one cell of a table."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")
