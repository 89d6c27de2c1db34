"""Typed actors: a class describes an actor, and its instances are the way to it.

The description and the handle are one class, because that is what type checkers understand without
a plugin: an instance of ``Counter`` has the methods of ``Counter``. An instance calls over HTTP,
or, inside ``async with handle.connect() as conn``, over the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    NoReturn,
    Protocol,
    overload,
)

from .._actions import CONNECTION_ADVICE, HANDLE_ADVICE, refuse_attribute
from .._checks import awaitable_from, check_function, check_name
from .._connection.events import EventStream, Gap, Gaps, NamedEvent, Overflow, only_event
from .._connection.status import Status, StatusStream
from .._convert import convert
from .._errors import ClosedError
from .._io.tasks import block_without_interrupts
from .._retry import Retry
from .._types import NOT_GIVEN, GetParams, QueueResult
from .declare import declare_members, declare_types
from .members import (
    Action,
    Rename,
    TypedEvent,
    TypedQueue,
)
from .plain import Plain

if TYPE_CHECKING:
    from typing import Self

    import httpx
    from typing_extensions import TypeVar

    from .._connection.connection import Connection
    from .._handle import ActorHandle
    from .._raw_websocket import ActorWebSocket

    Params = TypeVar("Params", default=Any)
    Input = TypeVar("Input", default=Any)
else:
    from typing import TypeVar

    Params = TypeVar("Params")
    Input = TypeVar("Input")

__all__ = ["RESERVED", "Interface", "TypedActor"]

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
R = TypeVar("R")
A_co = TypeVar("A_co", covariant=True)
Params_contra = TypeVar("Params_contra", contravariant=True)
Input_contra = TypeVar("Input_contra", contravariant=True)


class Interface(Protocol[A_co, Params_contra, Input_contra]):
    """What a subclass of `TypedActor` is to a client: the class, with its types to be inferred.

    A plain ``type[A]`` would say nothing of the types of params and input.
    """

    def _actor_name(self) -> str: ...

    def _plain_params(self, params: Params_contra | None) -> Any: ...

    def _plain_get_params(
        self, get_params: Callable[[], Awaitable[Params_contra]] | None
    ) -> GetParams | None: ...

    def _plain_input(self, input: Input_contra) -> Any: ...

    def _over(self, handle: ActorHandle) -> A_co: ...


class TypedActor(Generic[Params, Input]):
    """Describes an actor to type checkers, and is the typed handle and connection to it.

    A subclass has one ``async def`` stub for each action and one `Event` or `Queue` attribute for
    each event and queue: see docs/guide/typed.md. ``TypedActor[Params, Input]`` also names the
    types of connection params and of the actor's input. `Client.get_or_create` and its siblings
    take the class and return an instance. Arguments, params, inputs and messages are checked and
    become plain values by msgspec; results, events and responses are converted to their types.

    Keywords of the class statement:

    - ``name``: The actor's name at the server. Without it, a subclass takes its base's; a class
      that has none can only be a base.
    - ``rename``: How Python's names become the server's: as msgspec's ``rename``, for example
      ``"camel"``. Without it, names are the same.

    Raises:
        TypeError: at the class statement, for what cannot be an actor's description; and by every
            call whose arguments do not fit.
        ProtocolError: by every call whose result is not of its type.
    """

    _rivet_name: ClassVar[str | None] = None
    _rivet_rename: ClassVar[Rename | None] = None
    _rivet_names: ClassVar[Mapping[tuple[str, str], str]] = {}
    _rivet_params: ClassVar[Plain] = Plain(Any, "TypedActor")
    _rivet_input: ClassVar[Plain] = Plain(Any, "TypedActor")

    if not TYPE_CHECKING:

        def __class_getitem__(cls, types: Any) -> Any:
            given = types if isinstance(types, tuple) else (types,)
            if cls is TypedActor and len(given) == 1:
                given = (*given, Any)
            return super().__class_getitem__(given)

        def __getattr__(self, name: str) -> Any:
            self._refuse(name)

        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(
                f"{type(self).__name__!r} takes no attribute {name!r}: "
                "it describes an actor, and keeps nothing else"
            )

    def _refuse(self, name: str) -> NoReturn:
        """Raise the `AttributeError` for what the class does not declare."""
        is_handle = self.__dict__.get("_connection") is None
        way = f"actions that the class does not declare are called by .action({name!r}, ...)"
        refuse_attribute(
            self,
            name,
            HANDLE_ADVICE if is_handle else CONNECTION_ADVICE,
            "" if name.startswith("_") else way,
        )

    def __init_subclass__(cls, *, name: str | None = None, rename: Rename | None = None) -> None:
        super().__init_subclass__()
        if name is not None:
            cls._rivet_name = check_name("actor", name)
        if rename is not None:
            cls._rivet_rename = rename
        declare_types(cls, TypedActor)
        declare_members(cls, RESERVED)

    def __init__(self) -> None:
        self._handle: ActorHandle
        self._connection: Connection | None
        raise TypeError(
            f"{type(self).__name__} is not instantiated: "
            f"client.get_or_create({type(self).__name__}, key) returns a handle"
        )

    # What a client needs

    @classmethod
    def _actor_name(cls) -> str:
        if cls._rivet_name is None:
            raise TypeError(
                f"{cls.__qualname__} does not say which actor it describes: "
                f'class {cls.__name__}(TypedActor, name="...")'
            )
        return cls._rivet_name

    @classmethod
    def _plain_params(cls, params: Params | None) -> Any:
        if params is None:
            return None
        return cls._rivet_params(params, f"params of actor {cls._rivet_name!r}")

    @classmethod
    def _plain_get_params(
        cls, get_params: Callable[[], Awaitable[Params]] | None
    ) -> GetParams | None:
        check_function("get_params", get_params)
        if get_params is None:
            return None

        async def get_plain_params() -> Any:
            return cls._plain_params(await awaitable_from("get_params", get_params()))

        return get_plain_params

    @classmethod
    def _plain_input(cls, input: Input) -> Any:
        if input is NOT_GIVEN:
            return input
        return cls._rivet_input(input, f"input of actor {cls._rivet_name!r}")

    @classmethod
    def _over(cls, handle: ActorHandle) -> Self:
        return cls._made(handle, None)

    @classmethod
    def _made(cls, handle: ActorHandle, connection: Connection | None) -> Self:
        self = cls.__new__(cls)
        vars(self).update(_handle=handle, _connection=connection)
        return self

    # What a handle has

    @property
    def name(self) -> str:
        """The actor's name at the server."""
        return self._handle.name

    @property
    def key(self) -> tuple[str, ...] | None:
        """The actor's key, None for a handle by id."""
        return self._handle.key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self._connection or self._handle!r}>"

    async def resolve(self) -> str:
        """As `ActorHandle.resolve`."""
        return await self._handle.resolve()

    async def gateway_url(self, path: str = "", *, by: Literal["id", "key"] = "id") -> str:
        """As `ActorHandle.gateway_url`."""
        return await self._handle.gateway_url(path, by=by)

    async def action(
        self, name: str, /, *args: Any, type: Any = Any, retry_for: float | None = None
    ) -> Any:
        """Call an action that the class does not describe, by the server's name.

        As `Connection.action` on a connection, as `ActorHandle.action` on a handle.
        """
        caller = self._connection or self._handle
        return await caller.action(name, *args, type=type, retry_for=retry_for)

    async def send(self, queue: TypedQueue[Self, T, Any], body: T) -> None:
        """Put a message into one of the actor's queues, as `ActorHandle.send`.

        Args:
            queue: The queue, as ``Worker.jobs``.
            body: The message.
        """
        self._check_member(queue, TypedQueue)
        await self._handle.send(queue.server_name, queue._to_plain(body, self.name))

    async def send_and_wait(
        self, queue: TypedQueue[Self, T, R], body: T, *, timeout: float | None = None
    ) -> QueueResult[R | None]:
        """Put a message into a queue and wait for its response, as `ActorHandle.send_and_wait`.

        Args:
            queue: The queue, as ``Worker.jobs``.
            body: The message.
            timeout: Seconds after which the server stops waiting.

        Returns:
            The status, and the response where there is one.
        """
        self._check_member(queue, TypedQueue)
        plain = queue._to_plain(body, self.name)
        result = await self._handle.send_and_wait(queue.server_name, plain, timeout=timeout)
        if result.response is None:
            return result
        what = f"response of queue {queue.server_name!r} of actor {self.name!r}"
        return QueueResult(result.status, convert(result.response, queue.response, what))

    async def fetch(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        skip_ready_wait: bool | None = None,
        **options: Any,
    ) -> httpx.Response:
        """As `ActorHandle.fetch`."""
        return await self._handle.fetch(
            path, method=method, headers=headers, skip_ready_wait=skip_ready_wait, **options
        )

    def stream(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        skip_ready_wait: bool | None = None,
        **options: Any,
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """As `ActorHandle.stream`."""
        return self._handle.stream(
            path, method=method, headers=headers, skip_ready_wait=skip_ready_wait, **options
        )

    def websocket(
        self,
        path: str = "",
        *,
        skip_ready_wait: bool | None = None,
        max_message_size: int | None = None,
        subprotocols: Sequence[str] = (),
    ) -> ActorWebSocket:
        """As `ActorHandle.websocket`."""
        return self._handle.websocket(
            path,
            skip_ready_wait=skip_ready_wait,
            max_message_size=max_message_size,
            subprotocols=subprotocols,
        )

    def connect(
        self,
        *,
        params: Params | None = None,
        get_params: Callable[[], Awaitable[Params]] | None = None,
        skip_ready_wait: bool | None = None,
        connect_timeout: float | None = None,
        close_timeout: float | None = None,
        retry: Retry | None = None,
        wait_for_server: bool = False,
    ) -> Self:
        """A connection to the actor, open inside ``async with handle.connect() as conn``.

        `conn` has the same methods as the handle, and its actions go over the connection. Events
        and status are only there. Arguments and errors as `ActorHandle.connect`.
        """
        connection = self._handle.connect(
            params=self._plain_params(params),
            get_params=self._plain_get_params(get_params),
            skip_ready_wait=skip_ready_wait,
            connect_timeout=connect_timeout,
            close_timeout=close_timeout,
            retry=retry,
            wait_for_server=wait_for_server,
        )
        return self._made(self._handle, connection)

    async def __aenter__(self) -> Self:
        block_without_interrupts(TypedActor)
        await self._connected.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connected.__aexit__(exc_type, exc, traceback)

    # What a connection has beside

    @property
    def status(self) -> Status:
        """As `Connection.status`."""
        return self._connected.status

    @property
    def actor_id(self) -> str | None:
        """As `Connection.actor_id`."""
        return self._connected.actor_id

    @property
    def connection_id(self) -> str | None:
        """As `Connection.connection_id`."""
        return self._connected.connection_id

    @overload
    def events(
        self,
        event: TypedEvent[Self, T],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["ignore", "raise"] = ...,
    ) -> EventStream[T]: ...

    @overload
    def events(
        self,
        event: TypedEvent[Self, T],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["mark"],
    ) -> EventStream[T | Gap]: ...

    @overload
    def events(
        self,
        event: tuple[TypedEvent[Self, T1], TypedEvent[Self, T2]],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["ignore", "raise"] = ...,
    ) -> EventStream[NamedEvent[T1] | NamedEvent[T2]]: ...

    @overload
    def events(
        self,
        event: tuple[TypedEvent[Self, T1], TypedEvent[Self, T2]],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["mark"],
    ) -> EventStream[NamedEvent[T1] | NamedEvent[T2] | Gap]: ...

    @overload
    def events(
        self,
        event: tuple[TypedEvent[Self, T1], TypedEvent[Self, T2], TypedEvent[Self, T3]],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["ignore", "raise"] = ...,
    ) -> EventStream[NamedEvent[T1] | NamedEvent[T2] | NamedEvent[T3]]: ...

    @overload
    def events(
        self,
        event: tuple[TypedEvent[Self, T1], TypedEvent[Self, T2], TypedEvent[Self, T3]],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["mark"],
    ) -> EventStream[NamedEvent[T1] | NamedEvent[T2] | NamedEvent[T3] | Gap]: ...

    @overload
    def events(
        self,
        event: tuple[
            TypedEvent[Self, T1], TypedEvent[Self, T2], TypedEvent[Self, T3], TypedEvent[Self, T4]
        ],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["ignore", "raise"] = ...,
    ) -> EventStream[NamedEvent[T1] | NamedEvent[T2] | NamedEvent[T3] | NamedEvent[T4]]: ...

    @overload
    def events(
        self,
        event: tuple[
            TypedEvent[Self, T1], TypedEvent[Self, T2], TypedEvent[Self, T3], TypedEvent[Self, T4]
        ],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["mark"],
    ) -> EventStream[NamedEvent[T1] | NamedEvent[T2] | NamedEvent[T3] | NamedEvent[T4] | Gap]: ...

    @overload
    def events(
        self,
        event: tuple[TypedEvent[Self, Any], ...],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["ignore", "raise"] = ...,
    ) -> EventStream[NamedEvent[Any]]: ...

    @overload
    def events(
        self,
        event: tuple[TypedEvent[Self, Any], ...],
        *,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["mark"],
    ) -> EventStream[NamedEvent[Any] | Gap]: ...

    def events(
        self,
        event: TypedEvent[Any, Any] | tuple[TypedEvent[Any, Any], ...],
        *,
        buffer_size: int = 1024,
        overflow: Overflow = "raise",
        gaps: Gaps = "ignore",
    ) -> EventStream[Any]:
        """The events of a name, or of several in one order, subscribed from here on.

        Args:
            event: The event, as ``Counter.new_count``. Or a tuple of events: the stream yields
                `NamedEvent`, with the server's name, and ``Counter.new_count.match(item)`` says
                which it is.
            buffer_size: As `Connection.events`.
            overflow: As `Connection.events`.
            gaps: As `Connection.events`.

        Raises:
            ActorError, TransportError: the connection has failed for good.
            ClosedError: this is a handle and no connection, or its block was left.
            TypeError: an event is none of this class, or an argument has a wrong type.
            ValueError: a tuple is empty or has an event twice, or an argument is out of range.
        """
        events = event if isinstance(event, tuple) else (event,)
        for one in events:
            self._check_member(one, TypedEvent)
        if len(set(events)) < len(events):
            raise ValueError(f"an event is named twice in {events}")
        types = {one.server_name: one.type for one in events}
        return self._connected._link.events(
            tuple(types) if isinstance(event, tuple) else event.server_name,
            types if isinstance(event, tuple) else event.type,
            buffer_size=buffer_size,
            overflow=overflow,
            gaps=gaps,
            of_actor=f" of actor {self.name!r}",
        )

    async def next_event(self, event: TypedEvent[Self, T]) -> T:
        """Wait for one event, subscribed for just as long. Errors as `Connection.next_event`.

        Cancellation: safe.
        """
        return await only_event(self.events(event))

    def status_changes(self) -> StatusStream:
        """As `Connection.status_changes`."""
        return self._connected.status_changes()

    async def wait_connected(self) -> None:
        """As `Connection.wait_connected`."""
        await self._connected.wait_connected()

    @property
    def _connected(self) -> Connection:
        if self._connection is None:
            raise ClosedError(
                f"{self!r} is a handle: events and status are those of a connection, "
                "async with handle.connect() as conn"
            )
        return self._connection

    async def _call(self, action: Action, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an action of the class; both ways of calling name it alike in errors."""
        caller = self._connection or self._handle
        name = self._handle.name
        output = await caller.action(
            action.server_name, *action.arguments(name, args, kwargs), retry_for=action.retry_for
        )
        return action.result(name, output)

    def _check_member(self, member: Any, kind: type[Any]) -> None:
        if not isinstance(member, kind) or not issubclass(type(self), member.owner):
            name = "event" if kind is TypedEvent else "queue"
            raise TypeError(
                f"{member!r} is no {name} of {type(self).__qualname__}: "
                f"give an attribute of the class that is declared as {kind.__name__[5:]}[...]"
            )


RESERVED = frozenset(name for name in dir(TypedActor) if not name.startswith("_"))
