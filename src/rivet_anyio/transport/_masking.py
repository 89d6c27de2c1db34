"""The XOR that a client's frames are masked with. (RFC 6455, section 5.3)

In C where `websockets` was built with its extension, as its wheels are.
"""

from __future__ import annotations

from functools import cache

__all__ = ["apply_mask", "apply_mask_slowly"]


@cache
def _table(key: int) -> bytes:
    """What one byte of a mask makes of every byte."""
    return bytes(byte ^ key for byte in range(256))


def apply_mask_slowly(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """XOR with a mask of four bytes."""
    masked = bytearray(data)
    for i, key in enumerate(mask):
        masked[i::4] = masked[i::4].translate(_table(key))
    return bytes(masked)


try:
    from websockets.speedups import apply_mask
except ImportError:
    apply_mask = apply_mask_slowly
