"""The XOR that a client's frames are masked with. (RFC 6455, section 5.3)

In C where `websockets` was built with its extension, as its wheels are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from .._io.internals import mask_in_c

__all__ = ["apply_mask_slowly", "fastest_mask"]


@cache
def _table(key: int) -> bytes:
    """What one byte of a mask makes of every byte."""
    return bytes(byte ^ key for byte in range(256))


def apply_mask_slowly(data: bytes | memoryview, mask: bytes) -> bytes:
    """XOR with a mask of four bytes."""
    masked = bytearray(data)
    for i, key in enumerate(mask):
        masked[i::4] = masked[i::4].translate(_table(key))
    return bytes(masked)


def fastest_mask() -> Callable[[bytes | memoryview, bytes], bytes]:
    """What applies masks; found when first asked for, because importing it takes its time."""
    try:
        return mask_in_c() or apply_mask_slowly
    except OSError:  # there is no descriptor left to import it with; the next one may find it
        return apply_mask_slowly
