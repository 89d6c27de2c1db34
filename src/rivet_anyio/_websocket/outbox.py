"""Messages on their way out, from the callers who wait to the one task that writes.

Nothing here awaits but `capacity`, which waits until its caller is next.
"""

from __future__ import annotations

from typing import Protocol

from .._io.waiting import Signal

__all__ = ["HIGH_WATER", "Outbox", "Outgoing", "capacity"]

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

    def fail(self, error: Exception) -> None:
        """Called when `take` raised: it will not be sent."""
        ...


class Outbox:
    """A queue with a high-water mark, and with the callers who wait for capacity.

    Attributes:
        is_paused: Whether only what was put first may be written.
    """

    __slots__ = ("_bytes", "_first", "_items", "_waiters", "is_paused")

    def __init__(self) -> None:
        # Dicts in order of arrival: what a cancelled caller takes back may be anywhere in them.
        self._first: dict[Outgoing, None] = {}
        self._items: dict[Outgoing, None] = {}
        self.is_paused = False
        self._bytes = 0
        self._waiters: list[Signal] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be written, and nobody for capacity: others may write."""
        return not (self._items or self._first or self._waiters or self.is_paused)

    @property
    def must_wait(self) -> bool:
        """Whether callers have to wait for `capacity`."""
        return self._bytes >= HIGH_WATER or bool(self._waiters)

    @property
    def items(self) -> tuple[Outgoing, ...]:
        """What waits to be written, in order."""
        return (*self._first, *self._items)

    @property
    def waiters(self) -> list[Signal]:
        """The callers who wait for capacity, in order."""
        return self._waiters

    def put(self, item: Outgoing) -> None:
        """Append, without regard to capacity."""
        self._items[item] = None
        self._bytes += item.size
        self.notify()

    def put_first(self, item: Outgoing) -> None:
        """Append to what is written before everything else, also while paused."""
        self._first[item] = None

    def discard(self, item: Outgoing) -> bool:
        """Take something back; False when it does not wait here."""
        if item in self._first:
            del self._first[item]
            return True
        if item not in self._items:
            return False
        del self._items[item]
        self._bytes -= item.size
        self.notify()
        return True

    def take(self) -> list[tuple[Outgoing, str | bytes]]:
        """What to write next: up to the high-water mark, at least one message if there is any.

        An item that cannot be written fails alone.
        """
        if self.is_paused:
            taken, self._first = self._first, {}
        else:
            if self._first:
                self._items = {**self._first, **self._items}
                self._bytes += sum(item.size for item in self._first)
                self._first = {}
            taken = self._items
            left: dict[Outgoing, None] = {}
            if self._bytes > HIGH_WATER:
                taken, left = _split(self._items)
            self._items = left
            self._bytes = sum(item.size for item in left) if left else 0
            self.notify()
        written = []
        for item in taken:
            try:
                payload = item.take()
            except Exception as error:
                item.fail(error)
                continue
            if payload is not None:
                written.append((item, payload))
        return written

    def close(self) -> None:
        """Forget what waits, and let every caller who waits for capacity go on."""
        self._items = {}
        self._first = {}
        self._bytes = 0
        for waiter in self._waiters:
            waiter.set()

    def notify(self) -> None:
        """Let the first waiter go on, if there is capacity; its `put` notifies the next."""
        if self._waiters and self._bytes < HIGH_WATER:
            self._waiters[0].set()


async def capacity(outbox: Outbox) -> None:
    """Wait until less than the high-water mark waits to be written; first come, first served."""
    if not outbox.must_wait:
        return
    waiter = Signal()
    outbox.waiters.append(waiter)
    try:
        await waiter.wait()
    except BaseException:
        outbox.waiters.remove(waiter)
        outbox.notify()
        raise
    outbox.waiters.remove(waiter)


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
