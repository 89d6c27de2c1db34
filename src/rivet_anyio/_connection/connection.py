"""Connection: what the user sees of a connection to an actor."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar, overload

from anyio.lowlevel import checkpoint

from .._actions import CONNECTION_ADVICE, ActionCall, check_attribute
from .._checks import check_name, check_seconds
from .._convert import check_result_type, convert
from .._gateway.repeats import repeated
from .._io.tasks import block_without_interrupts, forbid_interrupts
from .._observe import Call
from .._types import QueueResult
from ..protocol.messages import Raw
from .events import EventStream, Gap, Gaps, NamedEvent, Overflow, only_event
from .link import Link
from .sending import call_action
from .state import Phase
from .status import Status, StatusStream

__all__ = ["Connection", "QueueSender"]

T = TypeVar("T")


class QueueSender(Protocol):
    """The handle of the connection's actor, which sends to its queues."""

    @property
    def name(self) -> str:
        """The actor's name."""
        ...

    async def send(self, queue: str, body: Any) -> None:
        """As `ActorHandle.send`."""
        ...

    async def send_and_wait(
        self, queue: str, body: Any, *, timeout: float | None = None, type: Any = Any
    ) -> QueueResult:
        """As `ActorHandle.send_and_wait`."""
        ...


class Connection:
    """A connection to an actor, from `ActorHandle.connect`; open inside ``async with``.

    Entering returns once the server has said Init, or raises what went wrong: an `ActorError` for
    a refusal, a `TransportError` for the network, a `ProtocolError` for what no Rivet server sends,
    a `ClosedError` outside the client's block, and what `get_params` or the function for the token
    raised. A connection that is lost later comes back by itself, with its subscriptions, as long as
    the actor does not refuse it. Leaving closes it within `close_timeout`, and within a second when
    the block is left by cancellation.

    Every attribute that is none of this class is an action, as on the handle.
    """

    __slots__ = ("__weakref__", "_handle", "_link")

    def __init__(self, link: Link, handle: QueueSender) -> None:
        self._link = link
        self._handle = handle

    @property
    def status(self) -> Status:
        """What the connection is doing at this moment."""
        return self._link.state.change.status

    @property
    def actor_id(self) -> str | None:
        """The actor's id, from the last Init; None before the first."""
        init = self._link.state.init
        return init.actor_id if init else None

    @property
    def connection_id(self) -> str | None:
        """The server's id of this connection, new after every reconnect; None before the first."""
        init = self._link.state.init
        return init.connection_id if init else None

    def __getattr__(self, name: str) -> ActionCall:
        check_attribute(self, name, CONNECTION_ADVICE)
        return ActionCall(self, self._handle.name, name)

    def __repr__(self) -> str:
        return f"<Connection to {self._handle!r} {self.status}>"

    @overload
    async def action(self, name: str, /, *args: Any, retry_for: float | None = None) -> Any: ...

    @overload
    async def action(
        self, name: str, /, *args: Any, type: type[T], retry_for: float | None = None
    ) -> T: ...

    @overload
    async def action(
        self, name: str, /, *args: Any, type: Any, retry_for: float | None = None
    ) -> Any: ...

    async def action(
        self, name: str, /, *args: Any, type: Any = Any, retry_for: float | None = None
    ) -> Any:
        """Call an action over the connection.

        While the connection is away, the call waits until it is back. It is sent once at most,
        unless `retry_for` allows more.

        Args:
            name: The action's name as the server knows it.
            args: Its arguments; the page "Values" lists what can be sent.
            type: What to convert the result to, checked by `msgspec.convert`.
            retry_for: The action may run more than once: as for `ActorHandle.action`. The time
                also ends a call that waits until the connection is back.

        Returns:
            What the action returned; nothing (undefined) is None.

        Raises:
            ActorError: what the actor or the server answered.
            ConnectionLostError: the connection broke after the call had left: it may have run.
            TransportError: the connection has failed for good; a later call did not run.
            ProtocolError: the answer cannot be read, or is not of `type`.
            TypeError: an argument cannot travel (the message names the path to it), or one has a
                wrong type.
            ValueError: the name is empty, or `retry_for` is not a finite number more than 0.
            ClosedError: outside the block; the action did not run.
            RuntimeError: in another event loop or thread.

        Cancellation: a call that has not left is never sent; one that has may run.
        """
        name = check_name("action", name)
        check_result_type(type)
        if retry_for is None:
            return await self._observed_action(name, args, type)
        seconds = check_seconds("retry_for", retry_for)
        link = self._link
        link.check_usable()
        return await repeated(
            name,
            lambda _: self._observed_action(name, args, type),
            seconds=seconds,
            retry=link.retry,
            is_over=lambda: not link.state.is_open,
        )

    async def _observed_action(self, name: str, args: tuple[Any, ...], type: Any) -> Any:
        link = self._link
        observer = link.core.observer
        if observer is None:
            return _loaded(await call_action(link, name, args), type, name)
        assert link.subject is not None
        with observer.call(Call(link.subject, "action", name, "websocket")):
            return _loaded(await call_action(link, name, args), type, name)

    @overload
    def events(
        self,
        name: str,
        *,
        type: type[T],
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["ignore", "raise"] = ...,
    ) -> EventStream[T]: ...

    @overload
    def events(
        self,
        name: str,
        *,
        type: type[T],
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["mark"],
    ) -> EventStream[T | Gap]: ...

    @overload
    def events(
        self,
        name: str,
        *,
        type: Any = ...,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Gaps = ...,
    ) -> EventStream[Any]: ...

    @overload
    def events(
        self,
        name: tuple[str, ...],
        *,
        type: type[T],
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["ignore", "raise"] = ...,
    ) -> EventStream[NamedEvent[T]]: ...

    @overload
    def events(
        self,
        name: tuple[str, ...],
        *,
        type: type[T],
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["mark"],
    ) -> EventStream[NamedEvent[T] | Gap]: ...

    @overload
    def events(
        self,
        name: tuple[str, ...],
        *,
        type: Any = ...,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["ignore", "raise"] = ...,
    ) -> EventStream[NamedEvent[Any]]: ...

    @overload
    def events(
        self,
        name: tuple[str, ...],
        *,
        type: Any = ...,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Gaps,
    ) -> EventStream[NamedEvent[Any] | Gap]: ...

    def events(
        self,
        name: str | tuple[str, ...],
        *,
        type: Any = Any,
        buffer_size: int = 1024,
        overflow: Overflow = "raise",
        gaps: Gaps = "ignore",
    ) -> EventStream[Any]:
        """The events of a name, or of several names in one order, subscribed from here on.

        The subscription is sent before every action that is called after this; the server may
        take a while to handle it. ``async with conn.events("x") as stream:`` waits for that, and
        so does `EventStream.subscribed`. Streams of one name share its subscription; closing the
        last one ends it. A stream that is made before the block is entered also gets what the
        actor sends while the connection opens. A stream that is dropped while it is subscribed
        gives a ResourceWarning.

        Args:
            name: The event's name as the server knows it: the stream yields values. Or a tuple of
                names: the stream yields a `NamedEvent` for each event of any of them, in the order
                in which the server sent them. They share one buffer and one policy, and a loss is
                one gap.
            type: What to convert each event's value to, checked by `msgspec.convert`.
            buffer_size: How many events are kept for a slow consumer. A buffer also keeps
                64 MiB at most.
            overflow: What happens when the buffer is full. ``"raise"``: the stream delivers what
                it has, then raises `EventOverflowError` and ends. ``"drop_oldest"`` and
                ``"drop_newest"`` count into `EventStream.dropped`. ``"block"`` stops reading the
                socket until there is capacity: that stops the whole connection, answers to actions
                too, and no keepalive is sent meanwhile. While `EventStream.subscribed` waits, the
                stream takes more than `buffer_size` events.
            gaps: What happens where the connection was away and events may be missing.
                ``"ignore"`` counts into `EventStream.gaps`, ``"raise"`` raises `EventGapError`
                there, ``"mark"`` delivers a `Gap` there.

        Raises:
            ActorError, TransportError: the connection has failed for good.
            ClosedError: after the block was left.
            TypeError: a name is not a string, or an argument has a wrong type.
            ValueError: a name is empty or has a lone surrogate, a tuple is empty or has a name
                twice, or an argument is out of range.
        """
        return self._link.events(name, type, buffer_size=buffer_size, overflow=overflow, gaps=gaps)

    async def next_event(self, name: str, type: Any = Any) -> Any:
        """Wait for one event of this name, subscribed for just as long.

        Args:
            name: The event's name as the server knows it.
            type: What to convert it to.

        Returns:
            As `EventStream.receive`.

        Raises:
            ActorError: the actor refused the subscription, or the connection failed for good.
            TransportError: the connection failed for good.
            ProtocolError: the event cannot be read, or is not of `type`.
            ClosedError: outside the block, or it was left meanwhile.
            TypeError, ValueError: the name or `type` cannot be used.

        Cancellation: safe.
        """
        return await only_event(self.events(check_name("event", name), type=type))

    def status_changes(self) -> StatusStream:
        """The connection's states from now on; the first item is the state now.

        After the connection's end the stream delivers ``closed`` and ends.
        """
        return self._link.status_changes()

    async def wait_connected(self) -> None:
        """Wait until the connection is open.

        Raises:
            ActorError, TransportError: it failed for good.
            ClosedError: outside the block.

        Cancellation: safe.
        """
        await checkpoint()
        link = self._link
        link.check_usable()
        while link.state.phase is not Phase.CONNECTED:
            await link.state.changed.wait()
            link.check_usable()

    async def send(self, queue: str, body: Any) -> None:
        """As `ActorHandle.send`, over HTTP, to the actor of this connection."""
        await self._handle.send(queue, body)

    async def send_and_wait(
        self, queue: str, body: Any, *, timeout: float | None = None, type: Any = Any
    ) -> QueueResult:
        """As `ActorHandle.send_and_wait`, over HTTP, to the actor of this connection."""
        return await self._handle.send_and_wait(queue, body, timeout=timeout, type=type)

    async def __aenter__(self) -> Connection:
        block_without_interrupts(Connection)
        forbid_interrupts(StatusStream.receive, call_action)
        await self._link.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._link.leave(exc_type)


def _loaded(output: Raw, type: Any, name: str) -> Any:
    result = output.load()
    return result if type is Any else convert(result, type, f"result of action {name!r}")
