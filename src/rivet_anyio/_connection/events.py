"""Event streams: what an actor broadcasts, bounded, in order, with its gaps.

A stream has two halves. The connection holds the `EventBuffer` and fills it; the user holds the
`EventStream` and takes from it. A stream that was forgotten gives its subscription back.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from threading import get_ident
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    Self,
    TypeVar,
    assert_never,
    get_args,
)

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from .._checks import check_choice, check_name, check_size
from .._convert import Converter, Misfit, converter_for
from .._errors import ClosedError, EventGapError, EventOverflowError, ProtocolError, again
from .._io.backend import current_backend
from .._io.waiting import Signal
from .._log import logger
from .._text import in_short

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectStreamStatistics

__all__ = [
    "EventBuffer",
    "EventSink",
    "EventStream",
    "Gap",
    "Gaps",
    "NamedEvent",
    "Notified",
    "Overflow",
    "Unreadable",
    "Value",
    "check_event_names",
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

    In the order of events, each missing one lies in a gap. By time, one may have been sent a little
    before `since`: it was on its way while the last one that came was read.

    Attributes:
        since: When the last message came before the loss, or when the stream was opened if that
            was later, in seconds of `anyio.current_time`. What came while a full stream with
            ``overflow="block"`` stopped the reader counts as old as the last bytes before that.
            Where the actor's host may have died unnoticed, the last message before the last check
            that saw the old start.
        until: When the server had confirmed the subscriptions again, in seconds of
            `anyio.current_time`.
        attempts: How many attempts the reconnect took; 0 where the connection stayed, and the
            actor was started anew behind it.
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


class NamedEvent(msgspec.Struct, Generic[T_co], frozen=True):
    """An event of a stream of several names.

    Attributes:
        name: The event's name as the server knows it.
        value: Its argument when it has exactly one, otherwise the tuple of its arguments.
    """

    name: str
    value: T_co


Item = Value | Unreadable | Gap


class Notified(Protocol):
    """What is notified by `set`, as a `Signal` is."""

    def set(self) -> None: ...


class EventSink(Protocol):
    """Where the events of one name go."""

    def push(self, item: Value | Unreadable, /) -> None:
        """Take an event."""
        ...

    def push_all(self, items: list[Value], size: int, /) -> None:
        """Take events that came together, and how long their messages were in sum."""
        ...


class _NamedSink:
    """The way of one name's events into a buffer of several."""

    __slots__ = ("_buffer", "_name")

    def __init__(self, buffer: EventBuffer, name: str) -> None:
        self._buffer = buffer
        self._name = name

    def push(self, item: Value | Unreadable, /) -> None:
        if type(item) is tuple:
            value, size = item
            item = (NamedEvent(self._name, value), size)
        self._buffer.push(item)

    def push_all(self, items: list[Value], size: int, /) -> None:
        name = self._name
        self._buffer.push_all([(NamedEvent(name, value), length) for value, length in items], size)


class EventBuffer:
    """The connection's half: filled by the reader, bounded in items and in bytes.

    Attributes:
        name: The event's name; of several, all of them.
        is_named: Whether events come as `NamedEvent`.
        sinks: Where events go, by their names; none after the end.
        since: Since when its events are all there: when it was made, or its last gap ended.
        items: What waits to be taken, in order.
        gap_count: How many gaps there were.
        dropped: How many events were dropped.
        ended: Whether nothing comes any more.
        end_error: Why, if that is an error.
        event_count: How many events it has.
        byte_count: How long their messages were.
        waiting: How many tasks wait for an item.

    Args:
        names: A name, or several in a tuple, whose events then come as `NamedEvent`.
    """

    def __init__(
        self,
        names: str | tuple[str, ...],
        *,
        since: float,
        buffer_size: int,
        buffer_bytes: int,
        overflow: Overflow,
        gaps: Gaps,
        unsubscribe: Callable[[EventBuffer], None],
        abandon: Callable[[EventBuffer], bool | None],
        check: Callable[[], None] | None = None,
        dropped: Callable[[str], None] | None = None,
        confirmed: Callable[[EventBuffer], Awaitable[None]] | None = None,
    ) -> None:
        self.is_named = not isinstance(names, str)
        self.sinks: dict[str, EventSink]
        if isinstance(names, str):
            self.name = names
            self.sinks = {names: self}
        else:
            self.name = ", ".join(names)
            self.sinks = {name: _NamedSink(self, name) for name in names}
        self.since = since
        self.items: deque[Item] = deque()
        self._newest = self.items  # where events go: behind a gap that has not ended, elsewhere
        self._gap_since = 0.0
        self.gap_count = 0
        self.dropped = 0
        self.ended = False
        self.end_error: BaseException | None = None
        self.event_count = self.byte_count = self.waiting = 0
        self._buffer_size = buffer_size
        self._buffer_bytes = buffer_bytes
        self._overflow: Overflow = overflow
        self._gaps = gaps
        self._unsubscribe = unsubscribe
        self._abandon = abandon
        self._check = check
        self._note_drop = dropped
        self._confirmed = confirmed
        self._unconfirmed = 0  # how many tasks wait in `confirmed`
        self._arrival: Notified | None = None
        self._departure: Signal | None = None

    def push(self, item: Value | Unreadable) -> None:
        """Take an event."""
        if self.ended:
            return
        size = item[1]
        if (
            self.event_count >= self._buffer_size or self.byte_count + size > self._buffer_bytes
        ) and self._has_no_capacity(size):
            if self._newest is not self.items:
                if not self._free_in_gap(size):
                    return
            elif self._overflow == "raise":
                self._count_drop()
                self._unsubscribe(self)
                self.end(
                    EventOverflowError(
                        f"{self.name!r}: the buffer is full with {self.event_count} events "
                        f"and {self.byte_count} bytes; consume faster, raise buffer_size, or "
                        "choose another overflow="
                    )
                )
                logger.warning("events %r: buffer overflow, the stream ends", self.name)
                return
            elif self._overflow == "drop_newest":
                self._count_drop()
                return
            elif self._overflow == "drop_oldest":
                self._drop_oldest(size)
            elif self._overflow != "block":  # that policy stops the reader, and takes this event
                assert_never(self._overflow)
        self._newest.append(item)
        self.byte_count += size
        self.event_count += 1
        if self._arrival is not None:
            self._wake()

    def push_all(self, items: list[Value], size: int) -> None:
        """As `push` for each of them, in one step where there is capacity for all."""
        if (
            self.ended
            or self.event_count + len(items) > self._buffer_size
            or self.byte_count + size > self._buffer_bytes
        ):
            for item in items:
                self.push(item)
            return
        self._newest.extend(items)
        self.byte_count += size
        self.event_count += len(items)
        if self._arrival is not None:
            self._wake()

    def begin_gap(self, since: float) -> None:
        """Events may be missing from here on, until `end_gap`: what comes meanwhile waits.

        What came in a gap that began before is forgotten: the gap is about it as well.
        """
        if not self.ended:
            self._forget_newest()
            self._newest = deque()
            self._gap_since = since

    def end_gap(self, until: float, attempts: int) -> bool:
        """No event is missing any more; whether there was a gap."""
        if self._newest is self.items:
            return False
        if len(self.sinks) > 1:
            # Some names were subscribed before others: between these events some may be missing.
            self._empty_gap()
        gap = Gap(self._gap_since, until, attempts)
        self.since = until
        self.gap_count += 1
        if self._gaps != "ignore":
            if self.items and isinstance(self.items[-1], Gap):
                # Nothing came between two losses: one gap is enough, and memory stays bounded.
                gap = _merged(self.items.pop(), gap)
            self.items.append(gap)
        self.items.extend(self._newest)
        self._newest = self.items
        self._wake()
        return True

    def end(self, error: BaseException | None) -> None:
        """Nothing comes any more; what is buffered is still delivered, then `error` is raised."""
        if not self.ended:
            self._forget_newest()
            self.sinks.clear()  # a cycle, which only the garbage collector would free
            self.ended = True
            self.end_error = error
            self._wake()
            self._notify_departure()

    def pop(self) -> Item:
        """The oldest item; the caller knows that there is one."""
        item = self.items.popleft()
        if isinstance(item, tuple):
            self.byte_count -= item[1]
            self.event_count -= 1
            if self._departure is not None:
                self._notify_departure()
        return item

    def clear(self) -> None:
        """Forget what is buffered; a gap that has not ended goes on."""
        self.items.clear()
        self._newest.clear()
        self.event_count = self.byte_count = 0
        self._notify_departure()

    def forget_gaps(self) -> bool:
        """Forget the gaps that wait, and all before the last of them; whether there were any.

        A gap that has not ended is the last one. It goes on.
        """
        is_open = self._newest is not self.items
        places = [place for place, item in enumerate(self.items, 1) if isinstance(item, Gap)]
        for _ in range(len(self.items) if is_open else max(places, default=0)):
            self.pop()
        return is_open or bool(places)

    @property
    def can_block(self) -> bool:
        """Whether the reader pauses while this is full."""
        return self._overflow == "block"

    @property
    def is_full(self) -> bool:
        """Whether there is no capacity for another event."""
        # The reader goes on where it looks for an answer: for the one that ends a gap, and for the
        # one that confirms the subscriptions while somebody waits for that.
        goes_on = self.ended or self._unconfirmed or self._newest is not self.items
        return not goes_on and self._has_no_capacity(0)

    def notify_when_free(self, signal: Signal) -> None:
        """Set the signal when there may be capacity again."""
        self._departure = signal

    def notify_of_arrival(self, notified: Notified | None) -> None:
        """Set it, once, when there may be something to take; in place of waiting in `arrival`."""
        self._arrival = notified

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
            arrival = self._arrival
            if not isinstance(arrival, Signal):
                arrival = self._arrival = Signal()
            self.waiting += 1
            try:
                await arrival.wait()
            finally:
                self.waiting -= 1

    async def confirmed(self) -> None:
        """Wait until the server has the subscriptions, or the stream has ended."""
        if self._confirmed is None:
            return
        self._unconfirmed += 1
        self._notify_departure()
        try:
            await self._confirmed(self)
        finally:
            self._unconfirmed -= 1

    def unsubscribe(self) -> None:
        """Give the subscription back."""
        self._unsubscribe(self)

    def abandon(self) -> bool:
        """As `unsubscribe`, from any thread: the connection does it in its next step.

        Returns:
            Whether it was subscribed.
        """
        return not self.ended and bool(self._abandon(self))

    def statistics(self, is_closed: bool) -> MemoryObjectStreamStatistics:
        """As `EventStream.statistics`."""
        from anyio.streams.memory import MemoryObjectStreamStatistics

        return MemoryObjectStreamStatistics(
            current_buffer_used=len(self.items),
            max_buffer_size=self._buffer_size,
            open_send_streams=int(not self.ended),
            open_receive_streams=int(not is_closed),
            tasks_waiting_send=int(self._departure is not None),
            tasks_waiting_receive=self.waiting,
        )

    def _has_no_capacity(self, size: int) -> bool:
        if self.event_count >= self._buffer_size:
            return True
        return self.event_count > 0 and self.byte_count + size > self._buffer_bytes

    def _forget_newest(self) -> None:
        """Forget what came in a gap that has not ended."""
        if self._newest is not self.items:
            self._empty_gap()
            self._newest = self.items

    def _empty_gap(self) -> None:
        """Let all that came in the gap be missing."""
        while self._newest:
            self._drop_from_gap()

    def _drop_from_gap(self) -> None:
        _, size = self._newest.popleft()  # type: ignore[misc]
        self.event_count -= 1
        self.byte_count -= size

    def _free_in_gap(self, size: int) -> bool:
        """Let the oldest events in the gap be missing; whether there is capacity then."""
        while self._newest and self._has_no_capacity(size):
            self._drop_from_gap()
        return not self._has_no_capacity(size)

    def _drop_oldest(self, size: int) -> None:
        """Make capacity; gaps among what is dropped stay, neighbouring ones as one."""
        kept: list[Item] = []
        while self.event_count and self._has_no_capacity(size):
            item = self.pop()
            if isinstance(item, tuple):
                self._count_drop()
            else:
                _keep(kept, item)
        if kept and self.items and isinstance(self.items[0], Gap):
            _keep(kept, self.items.popleft())
        self.items.extendleft(reversed(kept))

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


def _merged(first: Any, second: Any) -> Gap:
    """Two gaps with nothing between them, as one."""
    return Gap(first.since, second.until, first.attempts + second.attempts)


def _keep(kept: list[Item], item: Item) -> None:
    if kept and isinstance(kept[-1], Gap) and isinstance(item, Gap):
        kept[-1] = _merged(kept[-1], item)
    else:
        kept.append(item)


class NamedConverter:
    """Makes the values of `NamedEvent` of their types.

    Args:
        types: The types by the events' names.
        of_actor: What errors say of the actor.
    """

    __slots__ = ("_converters", "_of_actor")

    def __init__(self, types: Mapping[str, Any], of_actor: str) -> None:
        self._converters = {
            name: converter_for(type) for name, type in types.items() if type is not Any
        }
        self._of_actor = of_actor

    def load(self, event: NamedEvent[Any]) -> NamedEvent[Any]:
        """The event with a value of its type.

        Raises:
            ProtocolError: it is of another type.
        """
        converter = self._converters.get(event.name)
        if converter is None:
            return event
        try:
            return NamedEvent(event.name, converter.load(event.value))
        except Misfit as exc:
            raise ProtocolError(f"event {event.name!r}{self._of_actor}: {exc}") from exc.__cause__


class EventStream(anyio.abc.ObjectReceiveStream[T_co], Generic[T_co]):
    """The events of one name or several, from `Connection.events`; iterate it, or call `receive`.

    ``async with stream:`` returns when the server has the subscription, and closes the stream at
    the end. The iteration ends when the connection's scope ends. When the connection failed for
    good, or the buffer overflowed, it raises that after delivering what it has. Several tasks may
    take from one stream: each event goes to one of them.
    """

    _cancellation: Callable[[], Awaitable[None] | None]  # from the first wait on

    def __init__(self, buffer: EventBuffer, type: Any, of_actor: str = "") -> None:
        self._buffer = buffer
        self._items = buffer.items
        self._what = f"event {buffer.name!r}{of_actor}"
        self._converter: Converter | NamedConverter | None = None
        if buffer.is_named:
            types = type if isinstance(type, Mapping) else dict.fromkeys(buffer.sinks, type)
            self._converter = NamedConverter(types, of_actor)
        elif type is not Any:
            self._converter = converter_for(type)
        self._closed = False
        self._taken = 0
        self._thread = -1  # where it is used, from the first wait on

    @property
    def name(self) -> str:
        """The event's name; of several, all of them, with commas between."""
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
            ActorError: when the actor refuses the subscription, or the connection failed for good.
            TransportError: when the connection failed for good.
            ClosedError: when this stream was closed, also by another task meanwhile; and before
                the connection's block was entered.
            RuntimeError: in another event loop or thread.

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

    def receive_nowait(self) -> T_co:
        """As `receive`, without waiting.

        Raises:
            anyio.WouldBlock: when nothing is there.
        """
        self._buffer.check()
        self._check_items()
        if not self._buffer.items:
            raise anyio.WouldBlock
        return self._delivered(self._buffer.pop())

    async def subscribed(self) -> None:
        """Wait until the server has the subscription.

        What anybody causes after that is delivered, counted as dropped, or lies in a gap. It waits
        through reconnects. Where nobody calls an action on this connection, one more message asks
        the server. RivetKit 2.1 and 2.2 handle the messages of a connection one after the other:
        there it waits behind actions that run, however long they take. So there is no timeout but
        yours: use `anyio.fail_after`.

        Raises:
            ActorError: when the actor refuses the subscription, and when the connection failed for
                good.
            TransportError: when the connection failed for good.
            EventOverflowError: when the buffer filled up (``overflow="raise"``).
            ClosedError: when this stream was closed, when the connection's block was left, and
                before it was entered.

        Cancellation: safe; the subscription stays.
        """
        buffer = self._buffer
        buffer.check()
        await checkpoint()
        await buffer.confirmed()
        if self._closed:
            raise self._closed_error()
        if buffer.ended:
            if buffer.end_error is not None:
                raise again(buffer.end_error)
            raise ClosedError(f"events {self.name!r}: the connection's block was left")

    def statistics(self) -> MemoryObjectStreamStatistics:
        """As `anyio.streams.memory.MemoryObjectReceiveStream.statistics`.

        The sender is the connection. It waits while ``overflow="block"`` stops it.
        """
        return self._buffer.statistics(self._closed)

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
            self._check_items()
            await buffer.arrival()

    def _check_items(self) -> None:
        """Raise when there is nothing to take any more."""
        buffer = self._buffer
        if self._closed:
            raise self._closed_error()
        if buffer.ended and not buffer.items:
            if buffer.end_error is None:
                raise anyio.EndOfStream
            raise again(buffer.end_error)

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the stream of events {self.name!r} is closed")

    def _delivered(self, item: Item) -> T_co:
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

    async def __aenter__(self) -> Self:
        try:
            await self.subscribed()
        except BaseException:
            self.close()
            raise
        return self

    async def aclose(self) -> None:
        """Unsubscribe, drop what is buffered, and let waiting `receive`s raise `ClosedError`."""
        self.close()
        await checkpoint()

    def close(self) -> None:
        """What `aclose` does; nothing in it waits."""
        if not self._closed:
            self._buffer.unsubscribe()
            self._closed = True
            self._buffer.end(None)
            self._buffer.clear()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._buffer.abandon():
            _warn(
                f"{self!r} was dropped while subscribed: use it by 'async with', or close it",
                ResourceWarning,
                source=self,
            )

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


def check_event_names(names: Any) -> str | tuple[str, ...]:
    """A name, or several in a tuple; raises `TypeError` or `ValueError` for anything else."""
    if isinstance(names, (list, set, frozenset)):
        raise TypeError(f"several names of events are a tuple, not {in_short(names)}")
    if not isinstance(names, tuple):
        return check_name("event", names)
    if not names:
        raise ValueError("no event is named: give at least one name in the tuple")
    checked = tuple(check_name("event", name) for name in names)
    if len(set(checked)) < len(checked):
        raise ValueError(f"an event is named twice in {checked}")
    return checked


def check_policies(buffer_size: int, overflow: str, gaps: str) -> None:
    """Raise `TypeError` or `ValueError` for a value that cannot be used."""
    check_size("buffer_size", buffer_size)
    check_choice("overflow", overflow, get_args(Overflow))
    check_choice("gaps", gaps, get_args(Gaps))
