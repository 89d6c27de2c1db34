"""watch: the events of many actors as one stream."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from threading import get_ident
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from ._checks import check_size
from ._connection.connection import Connection
from ._connection.events import EventStream, Gap, check_event_names
from ._connection.handshake_limit import HandshakeLimit
from ._connection.status import Status, StatusChange
from ._errors import ClosedError, ConnectionLostError, outside_block
from ._handle import ActorHandle
from ._io.backend import Backend, check_loop, current_backend
from ._io.tasks import (
    ForeignCancellation,
    SilentTasks,
    block_without_interrupts,
    close_seconds,
)
from ._io.waiting import Signal
from ._text import in_short
from ._typed.actor import TypedActor
from ._typed.members import TypedEvent

__all__ = [
    "Feed",
    "FeedStatistics",
    "SourceEvent",
    "SourceFailed",
    "SourceGap",
    "SourceStatistics",
    "watch",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_ITEMS_PER_CHECKPOINT = 64
_SOURCE_TASK = "the task of a feed's source"


class SourceEvent(msgspec.Struct, Generic[T_co], frozen=True):
    """An event of a source.

    Attributes:
        key: The source's key.
        name: The event's name as the server knows it.
        value: Its argument when it has exactly one, otherwise the tuple of its arguments.
    """

    key: Any
    name: str
    value: T_co


class SourceGap(msgspec.Struct, frozen=True):
    """Events of a source may be missing here: what is known of its actor may be out of date.

    Each source begins with one: for the time from `Feed.add` until the server has the
    subscriptions.

    Attributes:
        key: The source's key.
        gap: When the connection was away; None where it was not.
        dropped: How many events were dropped because the source's buffer was full.
    """

    key: Any
    gap: Gap | None
    dropped: int = 0


class SourceFailed(msgspec.Struct, frozen=True):
    """A source has failed and is removed: its actor refused it, or an event could not be read.

    Attributes:
        key: The source's key.
        error: What a stream of this actor's events would have raised.
    """

    key: Any
    error: BaseException


@dataclass(frozen=True, slots=True)
class SourceStatistics:
    """What a source is doing.

    Attributes:
        status: The state of its connection.
        buffered: How many items wait to be taken.
        dropped: How many events were dropped because its buffer was full.
        gaps: How often events may have been missed, the time before the first connection included.
    """

    status: Status
    buffered: int
    dropped: int
    gaps: int


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """What a feed is doing, with the names of `anyio.streams.memory.MemoryObjectStreamStatistics`.

    Attributes:
        current_buffer_used: How many items wait to be taken.
        max_buffer_size: How many events the buffers of all sources can keep.
        open_send_streams: How many sources there are.
        open_receive_streams: 1; 0 when the feed is closed.
        tasks_waiting_send: 0; no source ever waits.
        tasks_waiting_receive: How many tasks wait in `receive`.
        handshakes: How many connections are being opened.
        sources: The sources, by their keys.
    """

    current_buffer_used: int
    max_buffer_size: int
    open_send_streams: int
    open_receive_streams: int
    tasks_waiting_send: int
    tasks_waiting_receive: int
    handshakes: int
    sources: dict[Any, SourceStatistics]

    @property
    def connected(self) -> int:
        """How many sources are connected."""
        return sum(each.status is Status.CONNECTED for each in self.sources.values())


class Source:
    """One actor of a feed: its connection, and the buffer of its events.

    Attributes:
        key: Its key.

    Args:
        stream: Its events, from the connection.
    """

    __slots__ = (
        "_buffer",
        "_connection",
        "_delivered",
        "_leave",
        "_reported",
        "_scope",
        "_sources",
        "key",
    )

    def __init__(
        self,
        sources: Sources,
        key: Hashable,
        stream: EventStream[Any],
        connection: Connection,
    ) -> None:
        self._sources = sources
        self.key = key
        self._connection = connection
        self._leave = Signal()
        self._scope: anyio.CancelScope | None = None  # of the task
        self._buffer = stream._buffer
        self._delivered = stream._delivered
        self._reported = 0  # how many dropped events were delivered as missing
        self._buffer.notify_of_arrival(self)

    def set(self) -> None:
        """There may be something to take: called by the buffer, once."""
        self._sources.arrived(self)

    def take(self) -> SourceEvent[Any] | SourceGap | SourceFailed | None:
        """The next item, None when there is none yet."""
        buffer = self._buffer
        # The dropped events are older than all items here, except perhaps a gap.
        if dropped := buffer.dropped - self._reported:
            self._reported = buffer.dropped
            has_gap = buffer.items and isinstance(buffer.items[0], Gap)
            return SourceGap(self.key, self._delivered(buffer.pop()) if has_gap else None, dropped)
        if buffer.items:
            try:
                item = self._delivered(buffer.pop())
            except Exception as error:
                return SourceFailed(self.key, error)
            if isinstance(item, Gap):
                return SourceGap(self.key, item)
            return SourceEvent(self.key, item.name, item.value)
        if buffer.ended:
            return SourceFailed(
                self.key,
                buffer.end_error
                or ConnectionLostError(f"{_SOURCE_TASK} was cancelled from outside"),
            )
        return None

    def waits(self) -> bool:
        """Whether there is nothing to take yet; then `set` is called when there is."""
        buffer = self._buffer
        if buffer.items or buffer.ended:
            return False
        buffer.notify_of_arrival(self)
        return True

    def end(self, *, waits: bool) -> None:
        """Drop all items, and leave the connection in the background.

        Args:
            waits: Whether its closing handshake may take `close_timeout`, rather than the time
                after a cancellation.
        """
        self._buffer.notify_of_arrival(None)
        self._buffer.end(None)
        self._buffer.clear()
        self._leave.set()
        has_opened = self._connection._link.state.settled_first.is_set()
        if self._scope is not None and not (waits and has_opened):
            self._scope.cancel()

    @property
    def change(self) -> StatusChange:
        """The last status change of its connection."""
        return self._connection._link.state.change

    def statistics(self) -> SourceStatistics:
        """What it is doing."""
        buffer = self._buffer
        return SourceStatistics(
            self.change.status, len(buffer.items), buffer.dropped, buffer.gap_count
        )

    async def run(self) -> None:
        """Own the connection until `end`. Never raises: what goes wrong ends the buffer."""
        try:
            if self._leave.is_set():
                return
            with (
                anyio.CancelScope() as self._scope,
                ForeignCancellation(ConnectionLostError, _SOURCE_TASK),
            ):
                async with self._connection:
                    await self._leave.wait()
        except Exception as error:
            self._buffer.end(error)
        finally:
            self._sources.task_ended()


class Sources:
    """The sources of a feed, and whose item is next. No await, no I/O.

    A queue has each source that is ready once. One item of the first source is taken; a source that
    has more goes to the end. So a source waits for at most one item of every other.

    Attributes:
        by_key: The sources, by their keys.
        finished: Set when all were cleared and their tasks have ended.
    """

    def __init__(self) -> None:
        self.by_key: dict[Hashable, Source] = {}
        self.finished = Signal()
        self._tasks = 1  # how many run, and one until `clear`
        self._ready: OrderedDict[Source, None] = OrderedDict()
        self._arrival: Signal | None = None

    def __bool__(self) -> bool:
        """Whether there may be something to take."""
        return bool(self._ready)

    def add(self, source: Source) -> None:
        """Add a source, whose task must call `task_ended`."""
        self.by_key[source.key] = source
        self._tasks += 1

    def remove(self, key: Hashable, *, waits: bool = False) -> None:
        """End a source, as `Source.end`, and forget its items; raises KeyError."""
        source = self.by_key.pop(key)
        self._ready.pop(source, None)
        source.end(waits=waits)

    def clear(self) -> None:
        """Remove all, once and for all."""
        for key in list(self.by_key):
            self.remove(key, waits=True)
        self._notify()
        self.task_ended()

    def task_ended(self) -> None:
        """The task of a source has ended."""
        self._tasks -= 1
        if not self._tasks:
            self.finished.set()

    def arrived(self, source: Source) -> None:
        """A source may have something to take."""
        self._ready[source] = None
        self._notify()

    def arrival(self) -> Signal:
        """Set when there may be something to take, and by `clear`."""
        self._arrival = self._arrival or Signal()
        return self._arrival

    def take(self) -> SourceEvent[Any] | SourceGap | SourceFailed | None:
        """The next item, None when there is none."""
        while self._ready:
            source, _ = self._ready.popitem(last=False)
            item = source.take()
            if self.by_key.get(source.key) is not source:
                continue  # the user's type removed it while it made the value
            if isinstance(item, SourceFailed):
                self.remove(source.key)
            elif not source.waits():
                self._ready[source] = None
            if item is not None:
                return item
        return None

    def _notify(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
            self._arrival = None


class Feed(
    anyio.abc.ObjectReceiveStream["SourceEvent[T_co] | SourceGap | SourceFailed"], Generic[T_co]
):
    """The events of many actors, from `watch`; open inside ``async with``.

    Iterate it, or call `receive`. Each source has a connection and a bounded buffer of its own,
    and keeps its order. Sources that have something to deliver alternate. The iteration goes on
    until the feed is closed, also while there is no source.

    A source whose server is away is waited for, at the first connection and at all later ones, as
    by ``handle.connect(wait_for_server=True)``. Leaving the block closes all connections side by
    side, within the client's `close_timeout`, and within a second when it is left by cancellation.
    """

    _backend: Backend  # from `__aenter__` on
    _cancellation: Callable[[], Awaitable[None] | None]

    def __init__(
        self, events: tuple[str | TypedEvent[Any, Any], ...], buffer_size: int, opening: int
    ) -> None:
        self._types = {
            name: event.type if isinstance(event, TypedEvent) else Any
            for name, event in zip(_names_of(events), events, strict=True)
        }
        self._events = [event for event in events if isinstance(event, TypedEvent)]
        self._buffer_size = buffer_size
        self._handshakes = HandshakeLimit(opening)
        self._sources = Sources()
        self._tasks = SilentTasks()
        self._is_entered = self._is_closed = False
        self._waiting = self._taken = 0
        self._thread = -1

    def add(self, handle: ActorHandle | TypedActor[Any, Any], *, key: Hashable = None) -> None:
        """Follow an actor. Its items begin with a `SourceGap`, once it is connected.

        Any task of the feed's event loop may call this, until the feed is closed.

        Args:
            handle: The actor's handle; its params and its `get_params` are used.
            key: Names the source in its items; None takes the handle's key.

        Raises:
            ClosedError: outside the feed's block, or the client's.
            RuntimeError: in another event loop or thread.
            TypeError: this is no handle, or one whose class does not declare a typed event of the
                feed; or the key is not hashable.
            ValueError: the key is in use, or there is none.
        """
        self._check_usable()
        handle = self._plain(handle)
        key = handle.key if key is None else key
        if key is None:
            raise ValueError(f"{handle!r} has no key: name the source by add(handle, key=...)")
        try:
            is_used = key in self._sources.by_key
        except TypeError:
            raise TypeError(
                f"key is hashable, as strings and tuples are, not {in_short(key)}"
            ) from None
        if is_used:
            raise ValueError(
                f"the feed has a source {in_short(key)} already: remove it first, or give "
                "another key"
            )
        _ = handle._core.http  # raises outside the client's block
        connection = handle.connect(wait_for_server=True)
        link = connection._link
        link.handshakes = self._handshakes
        link.state.miss_events(self._backend.time())
        stream: EventStream[Any] = link.events(
            tuple(self._types),
            self._types,
            buffer_size=self._buffer_size,
            overflow="drop_oldest",
            gaps="mark",
            of_actor=f" of actor {handle.name!r}",
        )
        source = Source(self._sources, key, stream, connection)
        self._sources.add(source)
        self._tasks.start(source.run)

    def remove(self, key: Hashable) -> None:
        """Follow an actor no more: no item of this source comes after this.

        Its key is free at once; its connection is closed in the background.

        Raises:
            ClosedError: outside the feed's block.
            KeyError: there is no such source, or it has failed.
            RuntimeError: in another event loop or thread.
        """
        self._check_usable()
        if key not in self._sources.by_key:
            raise KeyError(
                f"the feed has no source {in_short(key)}: it was not added, or has ended"
            )
        self._sources.remove(key)

    async def receive(self) -> SourceEvent[T_co] | SourceGap | SourceFailed:
        """The next item.

        Raises:
            ClosedError: outside the feed's block, also when it is left meanwhile.
            RuntimeError: in another event loop or thread.

        Cancellation: safe, no item is lost.
        """
        if self._taken % _ITEMS_PER_CHECKPOINT and self._sources and get_ident() == self._thread:
            if (cancelled := self._cancellation()) is not None:
                await cancelled
        else:
            self._check_usable()
            await checkpoint()
        while (item := self._sources.take()) is None:
            self._check_open()
            self._waiting += 1
            try:
                await self._sources.arrival().wait()
            finally:
                self._waiting -= 1
        self._taken += 1
        return item

    def receive_nowait(self) -> SourceEvent[T_co] | SourceGap | SourceFailed:
        """As `receive`, without waiting.

        Raises:
            anyio.WouldBlock: when nothing is there.
        """
        self._check_usable()
        item = self._sources.take()
        if item is None:
            raise anyio.WouldBlock
        return item

    def statistics(self) -> FeedStatistics:
        """What the feed and its sources are doing; takes longer the more sources there are."""
        sources = {key: each.statistics() for key, each in self._sources.by_key.items()}
        return FeedStatistics(
            current_buffer_used=sum(each.buffered for each in sources.values()),
            max_buffer_size=self._buffer_size * len(sources),
            open_send_streams=len(sources),
            open_receive_streams=int(not self._is_closed),
            tasks_waiting_send=0,
            tasks_waiting_receive=self._waiting,
            handshakes=self._handshakes.under_way,
            sources=sources,
        )

    async def aclose(self) -> None:
        """End all sources, drop their items, and let waiting `receive`s raise `ClosedError`.

        The connections are closed at the end of the block.

        Raises:
            RuntimeError: in another event loop or thread.
        """
        self._close()
        await checkpoint()

    async def __aenter__(self) -> Self:
        block_without_interrupts(Feed)
        if self._is_entered:
            raise RuntimeError("a Feed can be entered once: call watch() again")
        self._check_not_closed()
        self._is_entered = True
        self._backend = current_backend()
        self._cancellation = self._backend.cancellation_check()
        self._thread = get_ident()
        await self._tasks.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tasks.check_task()
        self._close()
        seconds = close_seconds(math.inf, exc_type)  # each source's own timeout is shorter
        await self._tasks.leave(self._sources.finished, seconds)

    def __repr__(self) -> str:
        return f"<Feed of {', '.join(self._types)} sources={len(self._sources.by_key)}>"

    def _plain(self, handle: Any) -> ActorHandle:
        """The untyped handle; raises TypeError where its class has not all events of the feed."""
        if isinstance(handle, TypedActor):
            for event in self._events:
                handle._check_member(event, TypedEvent)
            if handle._connection is None:
                handle = handle._handle
        if not isinstance(handle, ActorHandle):
            raise TypeError(f"add takes an actor's handle, not {in_short(handle)}")
        return handle

    def _close(self) -> None:
        if not self._is_closed:
            if self._is_entered:
                check_loop(self._backend, "this feed")
            self._is_closed = True
            self._sources.clear()

    def _check_usable(self) -> None:
        self._check_open()
        check_loop(self._backend, "this feed")

    def _check_open(self) -> None:
        if not self._is_entered:
            raise outside_block("the feed", entered=False)
        self._check_not_closed()

    def _check_not_closed(self) -> None:
        if self._is_closed:
            raise ClosedError("the feed is closed")


@overload
def watch(*names: TypedEvent[Any, T], buffer_size: int = ..., opening: int = ...) -> Feed[T]: ...


@overload
def watch(
    *names: str | TypedEvent[Any, Any], buffer_size: int = ..., opening: int = ...
) -> Feed[Any]: ...


def watch(
    *names: str | TypedEvent[Any, Any], buffer_size: int = 64, opening: int = 32
) -> Feed[Any]:
    """The events of many actors as one stream: ``async with watch("tick") as feed:``.

    `Feed.add` and `Feed.remove` say which actors. Items are `SourceEvent`, `SourceGap` and
    `SourceFailed`, each with the key of its source. A source that fails is one item, and gone; the
    others go on.

    Args:
        names: The events' names as the server knows them, or events of a typed actor, as
            ``Counter.new_count``.
        buffer_size: How many events are kept for each source, and 64 MiB at most. When there
            are more, the oldest are dropped, and a `SourceGap` in their place says how many.
        opening: How many connections may be opening at once, reconnects included. Sources whose
            last attempt took more than a second and failed use half of these places, at least one.

    Raises:
        TypeError: a name is neither a string nor an event, or an argument has a wrong type.
        ValueError: no event is named, or one twice; a name is empty or has a lone surrogate; or an
            argument is out of range.
    """
    if not names:
        raise ValueError("no event is named: watch takes at least one name")
    check_size("buffer_size", buffer_size)
    check_size("opening", opening)
    return Feed(names, buffer_size, opening)


def _names_of(events: tuple[str | TypedEvent[Any, Any], ...]) -> tuple[str, ...]:
    names = tuple(event.server_name if isinstance(event, TypedEvent) else event for event in events)
    checked = check_event_names(names)
    assert isinstance(checked, tuple)
    return checked
