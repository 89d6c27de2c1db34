"""What a bad network does to bytes on their way, in pieces that can be combined.

The names are those of toxiproxy. A toxic hands pieces of what it gets onward, to the next toxic or
to the socket: later, slower, smaller, or not at all.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

__all__ = [
    "Bandwidth",
    "Broken",
    "CutOnce",
    "Latency",
    "LimitData",
    "Link",
    "Reset",
    "Slicer",
    "SlowClose",
    "Toxic",
]

Onward = Callable[[bytes], Awaitable[None]]

Link = object
"""One direction of one connection."""


class Broken(Exception):
    """The connection ends here."""


class Reset(Broken):
    """The connection ends here, and the client's side with a reset."""


class Toxic(Protocol):
    """Something that happens to the bytes of a link."""

    closing_seconds: float
    """How much later than one side the other hears of the end."""

    async def apply(self, link: Link, data: bytes, onward: Onward) -> None:
        """Pass these bytes on; raises `Broken` to end the connection."""
        ...


class Latency:
    """Every piece is late, and the jitter makes it uneven."""

    closing_seconds = 0.0

    def __init__(self, seconds: float, jitter: float = 0.0) -> None:
        self._seconds = seconds
        self._jitter = jitter

    async def apply(self, link: Link, data: bytes, onward: Onward) -> None:
        await anyio.sleep(self._seconds + self._jitter * random.random())
        await onward(data)


class Bandwidth:
    """So many bytes a second, and no more."""

    closing_seconds = 0.0
    _PIECE_SECONDS = 0.02

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second

    async def apply(self, link: Link, data: bytes, onward: Onward) -> None:
        size = max(1, int(self._rate * self._PIECE_SECONDS))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            await anyio.sleep(len(piece) / self._rate)
            await onward(piece)


class Slicer:
    """Pieces of one size, with a pause after each: one read never brings a whole frame."""

    closing_seconds = 0.0

    def __init__(self, size: int = 1, pause: float = 0.0) -> None:
        self._size = size
        self._pause = pause

    async def apply(self, link: Link, data: bytes, onward: Onward) -> None:
        for start in range(0, len(data), self._size):
            await onward(data[start : start + self._size])
            await anyio.sleep(self._pause)


class LimitData:
    """A connection ends after this many more bytes in one direction: most likely in mid-frame."""

    closing_seconds = 0.0

    def __init__(self, count: int) -> None:
        self.tripped = False
        self._count = count
        self._left: dict[Link, int] = {}

    async def apply(self, link: Link, data: bytes, onward: Onward) -> None:
        left = self._left.setdefault(link, self._count)
        await onward(data[:left])
        self._left[link] = left - len(data)
        if self._left[link] <= 0:
            self.tripped = True
            raise Broken


class CutOnce:
    """One connection ends: the one that brings this many bytes to be full, of all together."""

    closing_seconds = 0.0

    def __init__(self, count: int, *, reset: bool) -> None:
        self.tripped = False
        self._left = count
        self._end = Reset if reset else Broken

    async def apply(self, link: Link, data: bytes, onward: Onward) -> None:
        if self.tripped or len(data) < self._left:
            self._left -= len(data)
            await onward(data)
            return
        self.tripped = True
        if self._left:
            await onward(data[: self._left])
        raise self._end


class SlowClose:
    """One side has closed; the other learns of it only later."""

    def __init__(self, seconds: float) -> None:
        self.closing_seconds = seconds

    async def apply(self, link: Link, data: bytes, onward: Onward) -> None:
        await onward(data)
