"""Messages on their way out, from the callers who wait to the one task that writes."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from .._io.stream import Waiter
from .._io.waiting import Signal

__all__ = ["HIGH_WATER", "Outbox", "Outgoing"]

HIGH_WATER = 64 * 1024
"""Bytes that may wait before callers have to."""


class Outgoing(Protocol):
    """Something that waits to be written."""

    @property
    def size(self) -> int:
        """Its length in bytes, about."""
        ...

    def take(self) -> str | bytes | None:
        """Called once, right before the bytes may leave; None when there is nothing to send."""
        ...

    def take_back(self) -> None:
        """Called after `take`, when nothing of it left: it waits again."""
        ...

    def sent(self) -> None:
        """Called when all its bytes were handed to the operating system."""
        ...


class Outbox:
    """A queue with a high-water mark, and two events: something to write, room for more."""

    def __init__(self) -> None:
        # A dict in order of arrival: what a cancelled caller takes back may be anywhere in it.
        self._items: dict[Outgoing, None] = {}
        self._bytes = 0
        self._is_filled = False
        self._writer: Waiter | None = None  # when it waits for something to write
        self._turns: deque[Signal] = deque()  # of those who wait for room

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be written, and nobody for room."""
        return not self._items and not self._turns

    @property
    def items(self) -> tuple[Outgoing, ...]:
        """What waits, the next one first."""
        return tuple(self._items)

    @property
    def is_full(self) -> bool:
        """Whether callers have to wait for `room`."""
        return self._bytes >= HIGH_WATER or bool(self._turns)

    def put(self, item: Outgoing) -> None:
        """Append, whatever waits already; see `room`."""
        self._items[item] = None
        self._bytes += item.size
        self._tell_room()
        if not self._is_filled:
            self.wake()

    def replace(self, items: list[Outgoing]) -> None:
        """Let these wait, in this order, instead of what does."""
        self._items = dict.fromkeys(items)
        self._bytes = sum(item.size for item in items)
        if items:
            self.wake()
        self._tell_room()

    def close(self) -> None:
        """Forget what waits, and let all of those in who wait for room: they find it closed."""
        self.replace([])
        for turn in self._turns:
            turn.set()

    def discard(self, item: Outgoing) -> bool:
        """Take something back; False when it has been written or never was there."""
        if item not in self._items:
            return False
        del self._items[item]
        self._bytes -= item.size
        self._tell_room()
        return True

    def take(self) -> list[tuple[Outgoing, str | bytes]]:
        """What to write next: up to the high-water mark, at least one message if there is any.

        When an item raises, it is gone, and what was to be taken after it waits on.
        """
        taken = self._items
        left: dict[Outgoing, None] = {}
        if self._bytes > HIGH_WATER:
            taken, left = _split(self._items)
        self._items = left
        self._bytes = sum(item.size for item in left) if left else 0
        self._tell_room()
        payloads: list[tuple[Outgoing, str | bytes]] = []
        rest = iter(taken)
        try:
            payloads.extend(
                (item, payload) for item in rest if (payload := item.take()) is not None
            )
        except BaseException:
            self.replace([*rest, *left])
            raise
        return payloads

    def wake(self) -> None:
        """Let `filled` return although nothing was put."""
        self._is_filled = True
        if self._writer is not None:
            self._writer.set()

    async def filled(self, waiter: Waiter) -> None:
        """Wait, with this new waiter, until something was put, or `wake` called."""
        if not self._is_filled:
            self._writer = waiter
            try:
                await waiter.wait()
            finally:
                self._writer = None
        self._is_filled = False

    async def room(self) -> None:
        """Wait until less waits than the high-water mark; first come, first served."""
        if not self.is_full:
            return
        turn = Signal()
        self._turns.append(turn)
        try:
            await turn.wait()
        except BaseException:
            self._turns.remove(turn)
            self._tell_room()
            raise
        self._turns.remove(turn)

    def _tell_room(self) -> None:
        """Let the first one in; what it puts lets the next one in, if there still is room."""
        if self._turns and self._bytes < HIGH_WATER:
            self._turns[0].set()


def _split(items: dict[Outgoing, None]) -> tuple[dict[Outgoing, None], dict[Outgoing, None]]:
    """What leaves now, and what after it."""
    taken: dict[Outgoing, None] = {}
    size = 0
    rest = iter(items)
    for item in rest:
        taken[item] = None
        size += item.size
        if size >= HIGH_WATER:
            break
    return taken, dict.fromkeys(rest)
