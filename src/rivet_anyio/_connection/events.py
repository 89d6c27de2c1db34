"""Event streams: what an actor broadcasts, bounded, in order, with its gaps told.

A stream has two halves. The connection holds the `EventBuffer` and fills it; the user holds the
`EventStream` and takes from it. A stream that was forgotten gives its subscription back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Generic, Literal, NamedTuple, TypeVar, get_args

import anyio
from anyio.lowlevel import checkpoint

from .._checks import check_choice, check_size
from .._convert import Converter, Misfit, converter_for
from .._errors import ClosedError, EventGapError, EventOverflowError, ProtocolError, again
from .._io.stream import current_backend
from .._io.waiting import Signal
from .._log import logger

__all__ = [
    "EventBuffer",
    "EventStream",
    "Gap",
    "Gaps",
    "Overflow",
    "Unreadable",
    "Value",
    "check_policies",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Overflow = Literal["raise", "drop_oldest", "drop_newest", "block"]
"""What happens when a consumer is slower than the events: see `Connection.events`."""

Gaps = Literal["ignore", "raise", "mark"]
"""What happens where events may be missing: see `Connection.events`."""

_ITEMS_PER_CHECKPOINT = 64


@dataclass(frozen=True, slots=True)
class Gap:
    """The connection was away: events may be missing here.

    Attributes:
        since: When the last message came before the loss, or when the stream was opened if that
            was later, in seconds of `anyio.current_time`.
        until: When it was back, in seconds of `anyio.current_time`.
        attempts: How many attempts the reconnect took.
    """

    since: float
    until: float
    attempts: int


Value = tuple[Any, int]
"""What an event says, and how long its message was. A plain tuple, as cheap as there is."""


class Unreadable(NamedTuple):
    """An event that could not be read: what is raised in its place, and its message's length."""

    error: ProtocolError
    size: int


class EventBuffer:
    """The connection's half: filled by the reader, bounded in items and in bytes."""

    def __init__(
        self,
        name: str,
        *,
        since: float,
        buffer_size: int,
        buffer_bytes: int,
        overflow: Overflow,
        gaps: Gaps,
        unsubscribe: Callable[[EventBuffer], None],
        abandon: Callable[[EventBuffer], None],
        check: Callable[[], None] | None = None,
        dropped: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.since = since
        self.items: deque[Value | Unreadable | Gap] = deque()
        self.gap_count = 0
        self.dropped = 0
        self.ended = False
        self.end_error: BaseException | None = None
        self.event_count = self.byte_count = 0
        self._buffer_size = buffer_size
        self._buffer_bytes = buffer_bytes
        self._overflow = overflow
        self._gaps = gaps
        self._unsubscribe = unsubscribe
        self._abandon = abandon
        self._check = check
        self._note_drop = dropped
        self._arrival: Signal | None = None
        self._departure: Signal | None = None

    def push(self, item: Value | Unreadable) -> None:
        """Take an event."""
        if self.ended:
            return
        size = item[1]
        if (
            self.event_count >= self._buffer_size or self.byte_count + size > self._buffer_bytes
        ) and self._has_no_capacity(size):
            if self._overflow == "raise":
                self._count_drop()
                self.end(
                    EventOverflowError(
                        f"{self.name!r}: the buffer is full with {self.event_count} events "
                        f"and {self.byte_count} bytes; consume faster, raise buffer_size, or "
                        "choose another overflow="
                    )
                )
                logger.warning("events %r: buffer overflow, the stream ends", self.name)
                self._unsubscribe(self)
                return
            if self._overflow == "drop_newest":
                self._count_drop()
                return
            if self._overflow == "drop_oldest":
                self._drop_oldest(size)
        self.items.append(item)
        self.byte_count += size
        self.event_count += 1
        if self._arrival is not None:
            self._wake()

    def push_gap(self, gap: Gap) -> None:
        """The connection is back after having been away."""
        if self.ended:
            return
        self.gap_count += 1
        if self._gaps != "ignore":
            if self.items and isinstance(self.items[-1], Gap):
                # Nothing came between two losses: one gap tells it, and memory stays bounded.
                self.items[-1] = _merged(self.items[-1], gap)
            else:
                self.items.append(gap)
            self._wake()

    def end(self, error: BaseException | None) -> None:
        """Nothing comes any more; what is held is still delivered, then `error` is raised."""
        if not self.ended:
            self.ended = True
            self.end_error = error
            self._wake()
            self._notify_departure()

    def pop(self) -> Value | Unreadable | Gap:
        """The oldest item; the caller knows that there is one."""
        item = self.items.popleft()
        if isinstance(item, tuple):
            self.byte_count -= item[1]
            self.event_count -= 1
            if self._departure is not None:
                self._notify_departure()
        return item

    def clear(self) -> None:
        """Forget what is held."""
        self.items.clear()
        self.event_count = self.byte_count = 0
        self._notify_departure()

    @property
    def can_block(self) -> bool:
        """Whether the reader pauses while this is full."""
        return self._overflow == "block"

    @property
    def is_full(self) -> bool:
        """Whether there is no capacity for another event."""
        return not self.ended and self._has_no_capacity(0)

    def notify_when_free(self, signal: Signal) -> None:
        """Set the signal when there may be capacity again."""
        self._departure = signal

    @property
    def raises_gaps(self) -> bool:
        """Whether a gap is raised rather than delivered."""
        return self._gaps == "raise"

    def check(self) -> None:
        """Raise when this is not the place where the connection may be used."""
        if self._check is not None:
            self._check()

    async def arrival(self) -> None:
        """Wait until something is there or the stream has ended."""
        while not self.items and not self.ended:
            self._arrival = self._arrival or Signal()
            await self._arrival.wait()

    def unsubscribe(self) -> None:
        """Give the subscription back."""
        self._unsubscribe(self)

    def abandon(self) -> None:
        """As `unsubscribe`, from any thread: the connection does it in its next step."""
        if not self.ended:
            self._abandon(self)

    def _has_no_capacity(self, size: int) -> bool:
        if self.event_count >= self._buffer_size:
            return True
        return self.event_count > 0 and self.byte_count + size > self._buffer_bytes

    def _drop_oldest(self, size: int) -> None:
        """Make room; the gaps among what is dropped stay, as one."""
        lost: Gap | None = None
        while self.event_count and self._has_no_capacity(size):
            item = self.pop()
            if isinstance(item, Gap):
                lost = _merged(lost, item)
            else:
                self._count_drop()
        if lost is not None:
            if self.items and isinstance(self.items[0], Gap):
                lost = _merged(lost, self.items.popleft())
            self.items.appendleft(lost)

    def _count_drop(self) -> None:
        self.dropped += 1
        if self._note_drop is not None:
            self._note_drop(self.name)
        if self.dropped == 1 and self._overflow != "raise":
            logger.warning("events %r: buffer overflow, events are dropped", self.name)

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
            self._arrival = None

    def _notify_departure(self) -> None:
        if self._departure is not None:
            self._departure.set()
            self._departure = None


def _merged(first: Gap | None, second: Any) -> Gap:
    """Two gaps with nothing between them, as one."""
    later: Gap = second
    if first is None:
        return later
    return Gap(first.since, later.until, first.attempts + later.attempts)


class EventStream(anyio.abc.ObjectReceiveStream[T_co], Generic[T_co]):
    """The events of one name, from `Connection.events`; iterate it, or call `receive`.

    The iteration ends when the connection's scope ends. When the connection failed for good, or
    the buffer overflowed, it raises that after delivering what it holds. Several tasks may take
    from one stream: each event goes to one of them.
    """

    _cancellation: Callable[[], Awaitable[None] | None]  # from the first wait on

    def __init__(self, buffer: EventBuffer, type: Any, what: str) -> None:
        self._buffer = buffer
        self._items = buffer.items
        self._converter: Converter | None = None if type is Any else converter_for(type)
        self._what = what
        self._closed = False
        self._taken = 0
        self._thread = -1  # where it is used, from the first wait on

    @property
    def name(self) -> str:
        """The event's name."""
        return self._buffer.name

    @property
    def gaps(self) -> int:
        """How often the connection was away while this stream was subscribed."""
        return self._buffer.gap_count

    @property
    def dropped(self) -> int:
        """How many events were dropped because the buffer was full."""
        return self._buffer.dropped

    @property
    def buffered(self) -> int:
        """How many items wait to be taken."""
        return len(self._buffer.items)

    async def receive(self) -> T_co:
        """The next event.

        Returns:
            The event's argument when it has exactly one, otherwise the tuple of its arguments;
            with ``gaps="mark"`` also a `Gap`.

        Raises:
            anyio.EndOfStream: when the connection's scope ended.
            EventOverflowError: when the buffer filled up (``overflow="raise"``).
            EventGapError: where events may be missing (``gaps="raise"``); the stream goes on.
            ProtocolError: when this event cannot be read or is not of ``type=``; the stream
                goes on.
            ActorError, TransportError: when the connection failed for good.
            ClosedError: when this stream was closed, also by another task meanwhile; and before
                the connection's block was entered.

        Cancellation: safe, no event is lost.
        """
        if self._taken % _ITEMS_PER_CHECKPOINT and self._items and get_ident() == self._thread:
            if (cancelled := self._cancellation()) is not None:
                await cancelled
        else:
            await self._wait()
        self._taken += 1
        return self._delivered(self._buffer.pop())

    async def __anext__(self) -> T_co:
        if self._taken % _ITEMS_PER_CHECKPOINT and self._items and get_ident() == self._thread:
            if (cancelled := self._cancellation()) is not None:
                await cancelled
        else:
            try:
                await self._wait()
            except anyio.EndOfStream:
                raise StopAsyncIteration from None
        self._taken += 1
        item = self._buffer.pop()
        if type(item) is tuple and self._converter is None:  # as most are: one call less
            return item[0]  # type: ignore[return-value]
        return self._delivered(item)

    async def _wait(self) -> None:
        """Return after a checkpoint, with an item to take; raise when there will be none."""
        buffer = self._buffer
        buffer.check()
        if self._thread < 0:
            self._thread = get_ident()
            self._cancellation = current_backend().cancellation_check()
        if buffer.items:
            await checkpoint()
        while not buffer.items or self._closed:
            if self._closed:
                raise ClosedError(f"the stream of events {self.name!r} is closed")
            if buffer.ended:
                if buffer.end_error is None:
                    raise anyio.EndOfStream
                raise again(buffer.end_error)
            await buffer.arrival()

    def _delivered(self, item: Value | Unreadable | Gap) -> T_co:
        """What the user gets for an item; raises what it stands for."""
        value: Any = item
        if type(item) is tuple:
            value = item[0]
            if self._converter is not None:
                try:
                    value = self._converter.load(value)
                except Misfit as exc:
                    raise ProtocolError(f"{self._what}: {exc}") from exc.__cause__
        elif isinstance(item, Unreadable):
            raise item.error
        elif isinstance(item, Gap) and self._buffer.raises_gaps:
            raise EventGapError(item.since, item.until, item.attempts)
        return value  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Unsubscribe, forget what is held, and let every waiting `receive` raise `ClosedError`."""
        self.close()
        await checkpoint()

    def close(self) -> None:
        """What `aclose` does; nothing in it waits."""
        if not self._closed:
            self._buffer.unsubscribe()
            self._closed = True
            self._buffer.end(None)
            self._buffer.clear()

    def __del__(self) -> None:
        self._buffer.abandon()

    def __repr__(self) -> str:
        return f"<EventStream {self.name!r} buffered={self.buffered} gaps={self.gaps}>"


async def only_event(stream: EventStream[T]) -> T:
    """Wait for one event and close the stream; raises as `Connection.next_event`."""
    try:
        return await stream.receive()
    except anyio.EndOfStream:
        raise ClosedError("the connection was closed before the event came") from None
    finally:
        stream.close()


def check_policies(buffer_size: int, overflow: str, gaps: str) -> None:
    """Raise `TypeError` or `ValueError` for a value that cannot be used."""
    check_size("buffer_size", buffer_size)
    check_choice("overflow", overflow, get_args(Overflow))
    check_choice("gaps", gaps, get_args(Gaps))
