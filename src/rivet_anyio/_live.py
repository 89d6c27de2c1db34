"""State that heals itself: a copy of an actor's state, from a snapshot and the events after it.

`Fold` decides what the state is; it has no await and no I/O. `Live` is its shell: one task that
takes the events of a stream and fetches snapshots.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

import anyio
from anyio.lowlevel import checkpoint

from ._checks import awaitable_from, check_flag, check_function, check_instance, check_name
from ._connection.connection import Connection
from ._connection.events import EventStream, Gap
from ._connection.link import Link
from ._connection.sending import noting_answers
from ._connection.status import Status
from ._errors import ConnectionLostError, ProtocolError, RivetError, again, outside_block
from ._gateway.repeats import repeated
from ._io.tasks import ForeignCancellation, SilentTasks, block_without_interrupts
from ._io.waiting import Signal
from ._log import logger
from ._text import in_short
from ._typed.actor import TypedActor
from ._typed.members import TypedEvent

__all__ = ["Fold", "Live", "Versions", "live"]

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)

Reducer = Callable[[S, Any], S]

_BUFFER_SIZE = 16 * 1024
"""More small events than one read brings: what overflows costs a snapshot."""


@dataclass(frozen=True)
class Versions(Generic[S_contra]):
    """Where the numbers are that an actor gives to its states and events.

    The actor counts its changes. The state has the number of the last change that is in it. Each
    change is one event, which has the number of that change: one more than the event before it.

    Attributes:
        of_state: The number of a snapshot.
        of_event: The number of an event, from its value.

    Raises:
        TypeError: one of them is not a function.
    """

    of_state: Callable[[S_contra], int]
    of_event: Callable[[Any], int]

    def __post_init__(self) -> None:
        check_function("of_state", self.of_state, none=False, plain=True)
        check_function("of_event", self.of_event, none=False, plain=True)


class Fold(Generic[S]):
    """What the state is. Events and gaps come in the order in which they were received.

    The rules:

    1. While a snapshot is wanted, nothing is taken but a snapshot, which was asked for after
       everything that was taken before. So it is at least as new, and is always the state: a
       number that is lower means that the actor was set back.
    2. Without numbers, the snapshot has all events up to its answer, and none after it. What was
       received before its answer is forgotten, and each event after that is applied.
    3. With numbers, an event is applied if its number is the next one. One that is not higher than
       the state's is in the state already, as long as the events' numbers rise. What was received
       before a gap is forgotten when the snapshot's answer comes behind the gap: the actor may
       have been set back in it, and given the same numbers to other events.
    4. Everything else wants a snapshot: a gap, an event that is missing or cannot be read, a number
       that is too high or does not rise.
    5. An event whose number was too high is kept: the snapshot may be of the moment just before
       it, where the actor sends its event before it changes its state.
    6. `number` rises with each state that is new. A snapshot that equals the state is not, unless
       its number is another.

    Attributes:
        value: The state; set from the first snapshot on.
        number: How many states there were.
        wants_snapshot: Whether something may be missing.
        refreshed: How many snapshots there were after the first one.

    Args:
        reducers: What makes a state and an event's value the next state, by the events' names.
        versions: Where the numbers are; None: there are none.
    """

    __slots__ = (
        "_dropped",
        "_early",
        "_last",
        "_reducers",
        "_version",
        "_versions",
        "number",
        "refreshed",
        "value",
        "wants_snapshot",
    )

    value: S

    def __init__(self, reducers: Mapping[str, Reducer[S]], versions: Versions[S] | None) -> None:
        self._reducers = reducers
        self._versions = versions
        self.number = 0
        self.wants_snapshot = True
        self.refreshed = -1
        self._dropped = 0  # how many events were dropped up to the snapshot's answer
        self._version: int | None = None  # the state's number
        self._last: int | None = None  # that of the last event since a gap
        self._early: tuple[str, Any, int] | None = None  # see rule 5

    def snapshot(self, state: S, dropped: int) -> None:
        """Take a snapshot.

        Args:
            state: The state.
            dropped: How many events had been dropped when its answer was received.
        """
        version = None
        if self._versions is not None:
            version = _whole(self._versions.of_state(state), "of_state")
        if not self.number or version != self._version or not _equal(self.value, state):
            self.number += 1
        self.value = state
        self.refreshed += 1
        self.wants_snapshot = False
        self._version = version
        self._dropped = dropped
        early, self._early = self._early, None
        if early is not None and version is not None and early[2] == version + 1:
            self._apply(*early)

    def event(self, name: str, value: Any, dropped: int) -> None:
        """Take an event.

        Args:
            name: Its name.
            value: Its value.
            dropped: How many events had been dropped when it was taken.
        """
        if self._versions is None:
            if dropped != self._dropped:
                self.wants_snapshot = True
            else:
                self._apply(name, value, None)
            return
        version = self._versions.of_event(value)
        if type(version) is not int:
            version = _whole(version, "of_event")
        last, self._last = self._last, version
        rises = last is None or version > last
        assert self._version is not None
        if rises and version == self._version + 1:
            self._apply(name, value, version)
        elif not rises or version > self._version:
            self._early = name, value, version
            self.wants_snapshot = True

    def gap(self) -> None:
        """Events may be missing here."""
        self.wants_snapshot = True
        self._last = self._early = None

    def unreadable(self) -> None:
        """An event is missing here."""
        self.wants_snapshot = True

    def _apply(self, name: str, value: Any, version: int | None) -> None:
        self.value = self._reducers[name](self.value, value)
        self._version = version
        self.number += 1


def _whole(number: Any, name: str) -> int:
    """A whole number; JavaScript has floats for large ones."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name} of Versions returns a whole number, not {in_short(number)}")
    return number


def _equal(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except Exception:  # the user's own comparison
        return False


class Live(Generic[S]):
    """The state of an actor, from `live`; kept up to date inside ``async with``.

    ``async for state in it`` gives the state at once, and then each time that there is a newer
    one, the newest: states in between are skipped. It may be iterated several times, also by
    several tasks. The iteration ends when the block is left, or the connection's. It raises what
    the connection failed with for good, what `snapshot` raised and is not repeated, and what a
    reducer or a function of `Versions` raised; before that it gives the last state.

    One task inside the block takes the events and fetches snapshots, whether or not anybody
    iterates: a program may just look at `value`.
    """

    def __init__(
        self,
        link: Link,
        of_actor: str,
        types: dict[str, Any],
        snapshot: Callable[[], Awaitable[S]],
        fold: Fold[S],
        is_atomic: bool,
    ) -> None:
        self._link = link
        self._of_actor = of_actor
        self._types = types
        self._snapshot = snapshot
        self._fold = fold
        self._is_atomic = is_atomic
        self._stream: EventStream[Any] | None = None  # from entering on
        self._answers = self._dropped = 0  # of the snapshot that is being fetched
        self._tasks = SilentTasks()
        self._ready = Signal()  # the first snapshot is there, or the end
        self._finished = Signal()
        self._changed: Signal | None = None  # while an iterator waits
        self._error: Exception | None = None

    @property
    def value(self) -> S:
        """The newest state that is known; after the block, the last one.

        Raises:
            ClosedError: before the block was entered.
        """
        if not self._fold.number:
            raise outside_block("the live state", entered=False)
        return self._fold.value

    @property
    def is_current(self) -> bool:
        """Whether `value` has everything that was received, and nothing is known to be missing.

        False while the connection is away, until a snapshot was fetched after that, and after the
        end.
        """
        return (
            self._stream is not None
            and not self._finished.is_set()
            and not self._fold.wants_snapshot
            and not self._stream.buffered
            and self._link.state.change.status is Status.CONNECTED
        )

    @property
    def refreshed(self) -> int:
        """How many snapshots were fetched after the first one."""
        return max(0, self._fold.refreshed)

    def __repr__(self) -> str:
        return f"<Live {', '.join(self._types)!r} refreshed={self.refreshed}>"

    def __aiter__(self) -> AsyncIterator[S]:
        return _States(self)

    async def __aenter__(self) -> Self:
        block_without_interrupts(Live)
        if self._stream is not None:
            raise RuntimeError("a Live can be entered once: call live() again")
        self._link.check_usable()
        self._stream = self._link.events(
            tuple(self._types),
            self._types,
            buffer_size=_BUFFER_SIZE,
            overflow="drop_oldest",
            gaps="mark",
            of_actor=self._of_actor,
        )
        await self._tasks.enter()
        try:
            self._tasks.start(self._run)
            await self._ready.wait()
            if not self._fold.number:
                if self._error is None:
                    raise self._link.state.closed_error()
                raise _raisable(self._error)
        except BaseException:
            await self._tasks.leave(self._finished, 0)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tasks.check_task()
        await self._tasks.leave(self._finished, 0)

    async def _run(self) -> None:
        """Keep the state up to date until the block is left or that is over."""
        assert self._stream is not None
        try:
            with ForeignCancellation(ConnectionLostError, "the task of a live state"):
                await self._follow(self._stream)
        except Exception as error:
            state = self._link.state
            self._error = error
            if isinstance(error, RivetError) and not state.is_open:
                assert state.failure is None or isinstance(state.failure, Exception)
                self._error = state.failure
            elif self._fold.number:
                # What the user's own code raised may hold what it was to keep.
                what = str(error) if isinstance(error, RivetError) else type(error).__name__
                logger.warning("live state of events %r ended: %s", self._stream.name, what)
        finally:
            self._stream.close()
            self._finished.set()
            self._ready.set()
            self._notify()

    async def _follow(self, stream: EventStream[Any]) -> None:
        fold = self._fold
        await stream.subscribed()
        while True:
            if fold.wants_snapshot:
                await self._fetch(stream)
            try:
                item = await stream.receive()
            except anyio.EndOfStream:
                return
            except ProtocolError as error:
                logger.warning("live state: %s; a snapshot is fetched in its place", str(error))
                fold.unreadable()
                continue
            if isinstance(item, Gap):
                fold.gap()
            else:
                fold.event(item.name, item.value, stream.dropped)
                self._notify()

    async def _fetch(self, stream: EventStream[Any]) -> None:
        """Fetch a snapshot, as often as it gets lost."""

        def answered() -> None:
            """Forget what the snapshot stands for: all that waits, or what is before a gap."""
            self._answers += 1
            if self._is_atomic:
                stream._buffer.clear()
                self._dropped = stream.dropped
            elif self._answers == 1 and stream._buffer.forget_gaps():
                self._fold.gap()

        async def attempt(_: object) -> S:
            self._answers = 0
            with noting_answers(self._link.state, answered):
                return await awaitable_from("snapshot", self._snapshot())

        state = await repeated(
            "snapshot",
            attempt,
            seconds=math.inf,
            retry=self._link.retry,
            is_over=lambda: not self._link.state.is_open,
        )
        if self._is_atomic and self._answers != 1:
            raise RuntimeError(
                f"snapshot got {self._answers} answers over the connection of live(): with "
                "atomic_snapshot=True it calls one action there, once; else give versions="
            )
        self._fold.snapshot(state, self._dropped)
        self._ready.set()
        self._notify()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _newer(self, number: int) -> int:
        """Wait for a state after this one; its number, or the same one at the end."""
        if not self._fold.number:
            raise outside_block("the live state", entered=False)
        self._link.check_loop()
        await checkpoint()
        while self._fold.number == number and not self._finished.is_set():
            self._changed = self._changed or Signal()
            await self._changed.wait()
        return self._fold.number


def _raisable(error: Exception) -> Exception:
    """An error to raise in one more place; the user's own comes out as itself."""
    return again(error) if isinstance(error, RivetError) else error


class _States(AsyncIterator[S]):
    """One iteration of a `Live`."""

    def __init__(self, live: Live[S]) -> None:
        self._live = live
        self._number = 0  # of the last state that was given

    async def __anext__(self) -> S:
        live = self._live
        number = await live._newer(self._number)
        if number == self._number:
            if live._error is None:
                raise StopAsyncIteration
            raise _raisable(live._error)
        self._number = number
        return live._fold.value


@overload
def live(
    conn: Connection | TypedActor[Any, Any],
    snapshot: Callable[[], Awaitable[S]],
    on: Mapping[str | TypedEvent[Any, Any], Reducer[S]],
    *,
    versions: Versions[S] | None = ...,
    atomic_snapshot: bool = ...,
) -> Live[S]: ...


@overload
def live(
    conn: Connection | TypedActor[Any, Any],
    snapshot: Callable[[], Awaitable[S]],
    on: Mapping[str, Reducer[S]] | Mapping[TypedEvent[Any, Any], Reducer[S]],
    *,
    versions: Versions[S] | None = ...,
    atomic_snapshot: bool = ...,
) -> Live[S]: ...


def live(
    conn: Connection | TypedActor[Any, Any],
    snapshot: Callable[[], Awaitable[S]],
    on: Mapping[Any, Reducer[S]],
    *,
    versions: Versions[S] | None = None,
    atomic_snapshot: bool = False,
) -> Live[S]:
    """Keep a copy of an actor's state: ``async with live(conn, ...) as state``.

    Entering returns with the first snapshot applied. From then on events make the next states.
    Where events may be missing, a new snapshot is fetched: after the connection was away, after
    more events than could be kept, after one that cannot be read, and, with `versions`, wherever a
    number is missing. Until it is there, `Live.is_current` is false. The state is always one that
    the actor had, and never goes back to an earlier one.

    An event that comes before a snapshot's answer may be in it or not. One of these says which:

    - ``versions=Versions(of_state, of_event)``: the actor numbers its changes.
    - ``atomic_snapshot=True``: your word that the action which `snapshot` calls over this
      connection, the only one, reads the state and returns it without an ``await`` before, between
      and after, and that changes and their events are not separated by an ``await`` either. When
      the actor's host dies (RivetKit 2.3), its last events may be lost on the way: without
      numbers, the state is wrong until a check finds that (`Client`'s `actor_check_interval`).

    A snapshot that got lost is fetched again, without end, until the block is left: after the
    errors after which ``retry_for=`` calls an action again, in delays of up to 2 s.
    `anyio.fail_after` bounds entering.

    Args:
        conn: An open connection, also a typed one.
        snapshot: Awaited for the state, in a task of its own: ``conn.getState``, or
            ``lambda: conn.action("getState", type=State)``. With `versions` it may also go over
            HTTP.
        on: What makes a state and an event's value the next state, by the events' names. Of typed
            actors also by events, as ``Counter.new_count``. A function that returns the same
            object changes the states that were given before.
        versions: Where the actor's numbers are.
        atomic_snapshot: The actor has none, and needs none.

    Raises:
        TypeError: an argument has a wrong type; neither `versions` nor `atomic_snapshot` is given,
            or both.
        ValueError: `on` is empty, has an event twice, or a name that cannot be one.
        ClosedError: `conn` is a typed handle and no connection; by entering, outside the
            connection's block.
        ActorError: by entering and iterating: the actor refused a subscription or `snapshot`, or
            the connection failed for good.
        TransportError: by entering and iterating: the connection failed for good.
        RuntimeError: by entering and iterating: with ``atomic_snapshot=True``, `snapshot` did not
            call exactly one action over the connection.
        Exception: by entering and iterating: whatever else `snapshot`, a reducer or a function of
            `versions` raised.

    Cancellation: safe, also while entering; an iteration misses no newest state.
    """
    of_actor = ""
    connection: Any = conn
    if isinstance(conn, TypedActor):
        connection = conn._connected
        of_actor = f" of actor {conn.name!r}"
    check_instance("conn", connection, Connection, none=False)
    check_function("snapshot", snapshot, none=False)
    check_instance("versions", versions, Versions)
    check_flag("atomic_snapshot", atomic_snapshot)
    if atomic_snapshot == (versions is not None):
        raise TypeError(
            "live() takes one of two: versions=Versions(of_state, of_event), where the actor "
            "numbers its changes, or atomic_snapshot=True, where its action does not await"
        )
    types, reducers = _checked(conn, on)
    fold = Fold(reducers, versions)
    return Live(connection._link, of_actor, types, snapshot, fold, atomic_snapshot)


def _checked(conn: Any, on: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The types of the events' values and their reducers, by the events' names."""
    check_instance("on", on, Mapping, none=False)
    if not on:
        raise ValueError("on is empty: give at least one event and its function")
    types: dict[str, Any] = {}
    reducers: dict[str, Any] = {}
    for event, reducer in on.items():
        type_: Any = Any
        if isinstance(event, TypedEvent):
            if isinstance(conn, TypedActor):
                conn._check_member(event, TypedEvent)
            name, type_ = event.server_name, event.type
        else:
            name = check_name("event", event)
        check_function(f"the value of on[{name!r}]", reducer, none=False, plain=True)
        if name in types:
            raise ValueError(f"on has the event {name!r} twice")
        types[name] = type_
        reducers[name] = reducer
    return types, reducers
