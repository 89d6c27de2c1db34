"""How much is read and written at a time."""

from __future__ import annotations

__all__ = ["FIRST_READ", "LONG_RUN", "next_read"]

FIRST_READ = 16 * 1024
_MAX_READ = 256 * 1024

LONG_RUN = 1024 * 1024
"""Bytes written without waiting, after which other tasks have their turn."""


def next_read(size: int, got: int) -> int:
    """How much to ask for after having got so much of `size`.

    Asking for much is slow where little comes, and copies less where much does.
    """
    if got == size:
        return min(size * 4, _MAX_READ)
    return size if got * 16 > size else FIRST_READ
