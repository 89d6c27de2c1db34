"""The actor of the model, and the truth about it."""

from __future__ import annotations

from zlib import crc32

import anyio

from rivet_anyio.testing import Actor, UserError

__all__ = ["Digest", "Ledger", "Store", "add"]

Digest = tuple[int, int]
"""A log in short: how many numbers, and a checksum of them."""


def add(digest: Digest, event: tuple[int, int]) -> Digest:
    """The digest after one more number, which an event brings."""
    return digest[0] + 1, crc32(b"%d" % event[0], digest[1])


class Store:
    """What ran, and when; it survives the actor, whatever becomes of that."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.times: list[float] = []
        self.digests: list[Digest] = [(0, 0)]
        self.owner: object = None

    def append(self, number: int) -> int:
        """The number's place, counted from 1."""
        self.numbers.append(number)
        self.times.append(anyio.current_time())
        self.digests.append(add(self.digests[-1], (number, len(self.numbers))))
        return len(self.numbers)


class Ledger(Actor):
    """Appends numbers and tells everybody, under two names."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def on_wake(self) -> None:
        self._store.owner = self.context

    async def append(self, number: int, seconds: float = 0.0, _: str = "") -> int:
        if self._store.owner is not self.context:
            # Up to 2.2 a call outlives the actor that was destroyed: nobody hears of it any more.
            raise UserError("there is another ledger now", code="destroyed")
        seq = self._store.append(number)
        self.context.broadcast("appended", number, seq)
        self.context.broadcast("ticked", number, seq)
        if seconds:
            await anyio.sleep(seconds)
        return seq

    async def log(self) -> list[int]:
        return self._store.numbers

    async def digest(self, seconds: float = 0.0) -> Digest:
        """The log as it is when this begins, after so many seconds."""
        digest = self._store.digests[-1]
        if seconds:
            await anyio.sleep(seconds)
        return digest
