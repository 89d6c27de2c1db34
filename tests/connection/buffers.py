"""Event buffers, filled and emptied by chance, with what holds after every step."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, get_args

from rivet_anyio import Gap
from rivet_anyio._connection.events import EventBuffer, Gaps, Overflow
from rivet_anyio._io.waiting import Signal

__all__ = ["fill"]


class _Filled:
    """A buffer, what went in, and what came out.

    Args:
        chance: Decides.
        together: Whether events that come at once go in at once, and not one after the other.
    """

    def __init__(self, chance: Random, *, together: bool) -> None:
        self.chance = chance
        self.together = together
        self.overflow: Overflow = chance.choice(get_args(Overflow))
        self.gaps: Gaps = chance.choice(get_args(Gaps))
        self.most, self.most_bytes = chance.randint(1, 6), chance.choice((10, 100, 1000))
        self.is_gone = self.in_gap = False
        self.noted = 0
        self.buffer = EventBuffer(
            "event",
            since=0.0,
            buffer_size=self.most,
            buffer_bytes=self.most_bytes,
            overflow=self.overflow,
            gaps=self.gaps,
            unsubscribe=self._unsubscribe,
            abandon=self._unsubscribe,
            dropped=self._drop,
        )
        self.now = 0.0
        self.pushed = 0
        self.last = 0  # the newest that came out, or was dropped
        self.taken: list[Any] = []
        self.arrival: Signal | None = None
        self.departure: Signal | None = None

    def _unsubscribe(self, buffer: EventBuffer) -> None:
        self.is_gone = True

    def _drop(self, name: str) -> None:
        self.noted += 1

    @property
    def waits(self) -> list[Any]:
        """All that the buffer has, also what came in a gap that has not ended."""
        buffer = self.buffer
        newest = [] if buffer._newest is buffer.items else list(buffer._newest)
        return [*buffer.items, *newest]

    @property
    def state(self) -> tuple[Any, ...]:
        """All that shows."""
        buffer = self.buffer
        counts = (buffer.event_count, buffer.byte_count, buffer.dropped, buffer.gap_count)
        return self.waits, self.taken, counts, buffer.ended, str(buffer.end_error), self.noted

    # What can happen

    def push(self) -> None:
        # Where the reader may have to pause, one event comes at a time.
        count = 1 if self.overflow == "block" else self.chance.randint(1, 4)
        sizes = [self.chance.choice((0, 1, 9, 60, 2000)) for _ in range(count)]
        if self.buffer.ended or (self.overflow == "block" and self.buffer.is_full):
            return  # the reader has paused
        items = [(self.pushed + number, size) for number, size in enumerate(sizes, 1)]
        if self.together:
            self.buffer.push_all(items, sum(sizes))
        else:
            for item in items:
                self.buffer.push(item)
        if self.buffer.ended:  # what came after that counts for nothing
            self.pushed += len([item for item in items if item in self.waits]) + 1
        else:
            self.pushed += count
        if self.buffer.is_full and self.overflow == "block":
            self.departure = Signal()
            self.buffer.notify_when_free(self.departure)

    def wait(self) -> None:
        """Somebody waits for an item."""
        if not self.buffer.items and not self.buffer.ended:
            self.arrival = Signal()
            self.buffer.notify_of_arrival(self.arrival)

    def pop(self) -> None:
        if self.buffer.items:
            self.taken.append(self.buffer.pop())

    def lose(self) -> None:
        self.now += 1
        self.in_gap = not self.buffer.ended
        self.buffer.begin_gap(self.now)

    def come_back(self) -> None:
        self.now += 1
        count = self.buffer.gap_count
        assert self.buffer.end_gap(self.now, 1) == (self.in_gap and not self.buffer.ended)
        assert self.buffer.gap_count == count + (self.in_gap and not self.buffer.ended)
        self.in_gap = False

    def check(self) -> None:
        buffer = self.buffer
        events = [item for item in self.waits if isinstance(item, tuple)]
        assert buffer.event_count == len(events)
        assert buffer.byte_count == sum(size for _, size in events)
        if self.overflow != "block":
            assert len(events) <= self.most
            assert len(events) <= 1 or buffer.byte_count <= self.most_bytes
        order = [item[0] for item in (*self.taken, *self.waits) if isinstance(item, tuple)]
        assert order == sorted(set(order)), "out of order, or twice"
        gaps = [item for item in (*self.taken, *self.waits) if isinstance(item, Gap)]
        assert all(gap.since < gap.until for gap in gaps)
        if self.gaps == "ignore":
            assert not gaps
        pairs = zip(buffer.items, list(buffer.items)[1:], strict=False)
        assert not any(isinstance(a, Gap) and isinstance(b, Gap) for a, b in pairs)
        if not buffer.gap_count and not self.in_gap:
            assert len(order) + buffer.dropped == self.pushed, "one is gone and was not counted"
        assert buffer.dropped == self.noted
        if self.overflow == "raise":
            assert buffer.ended == self.is_gone == bool(buffer.dropped)
        if self.arrival is not None and (buffer.items or buffer.ended):
            assert self.arrival.is_set(), "who waits for an item was not woken"
            self.arrival = None
        if self.departure is not None and not buffer.is_full and not self.in_gap:
            assert self.departure.is_set(), "the reader was not woken"
            self.departure = None


_STEPS: tuple[Callable[[_Filled], None], ...] = (
    _Filled.push,
    _Filled.push,
    _Filled.push,
    _Filled.pop,
    _Filled.pop,
    _Filled.wait,
    _Filled.lose,
    _Filled.come_back,
)


def fill(chance: Random) -> None:
    """Forty steps with a buffer, and with one that gets at once what comes at once."""
    seed = chance.getrandbits(64)
    one, other = (_Filled(Random(seed), together=together) for together in (False, True))
    for _ in range(40):
        step = chance.choice(_STEPS)
        for filled in (one, other):
            step(filled)
            filled.check()
        assert one.state == other.state
