"""The actor of the model, and the truth about it."""

from __future__ import annotations

import anyio

from rivet_anyio.testing import Actor

__all__ = ["Ledger", "Store"]


class Store:
    """What ran, and when; it survives the actor, whatever becomes of that."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.times: list[float] = []

    def append(self, number: int) -> int:
        """The number's place, counted from 1."""
        self.numbers.append(number)
        self.times.append(anyio.current_time())
        return len(self.numbers)


class Ledger(Actor):
    """Appends numbers and tells everybody, under two names."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, number: int, seconds: float = 0.0) -> int:
        seq = self._store.append(number)
        self.context.broadcast("appended", number, seq)
        self.context.broadcast("ticked", number, seq)
        if seconds:
            await anyio.sleep(seconds)
        return seq

    async def log(self) -> list[int]:
        return self._store.numbers
