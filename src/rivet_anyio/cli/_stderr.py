"""What goes to stderr."""

from __future__ import annotations

import sys

from .._text import escaped

__all__ = ["to_stderr"]


def to_stderr(text: str) -> None:
    """Write one line to stderr, come what may."""
    if sys.stderr is None:
        return
    try:
        print(escaped(text, keeps_lines=True), file=sys.stderr, flush=True)
    except OSError:
        pass
