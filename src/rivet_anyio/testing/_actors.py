"""Actors written in Python: the class that users derive from, and what it finds in itself."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import httpx

from .._checks import as_config_errors, check_name
from .._errors import ActorError, ConfigError

if TYPE_CHECKING:
    from ._context import ActorContext
    from ._peers import ActorConnection, ActorSocket

__all__ = ["Actor", "UserError", "action", "actions_of"]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_NAME = "_rivet_action_name"


class UserError(ActorError):
    """Raise it in an actor, and the client sees it: group ``user``, code, message and metadata.

    Args:
        message: Text for people.
        code: What the client branches on.
        metadata: Anything that travels.
    """

    def __init__(self, message: str = "", *, code: str = "user_error", metadata: Any = None):
        super().__init__("user", code, message, metadata=metadata)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), code=self.code), (self.message,), self.__dict__


def action(name: str) -> Callable[[F], F]:
    """Call an action by another name than its method's: ``@action("math.add")``.

    Args:
        name: The name that clients use.

    Raises:
        ConfigError: for an empty name, or a method that is no ``async def``.
    """

    with as_config_errors():
        name = check_name("action", name)

    def mark(method: F) -> F:
        if not _is_async(method):
            raise ConfigError(f"an action is an 'async def', and {method!r} is none")
        setattr(method, _NAME, name)
        return method

    return mark


class Actor:
    """An actor of an `ActorServer`: derive from it, and every public ``async def`` is an action.

    Names are not translated: a method ``sendMessage`` is the action ``sendMessage``; `action`
    gives it another name. Methods that begin with an underscore, or are no ``async def``, are
    none, and neither are the hooks below.

    Attributes of the object are the actor's state. They last as long as the actor exists, also
    when it sleeps or the server restarts.

    Raise a `UserError` (or any `ActorError`) to answer with an error. Any other exception becomes
    the internal error that RivetKit makes of it, and is logged with its traceback.
    """

    queues: ClassVar[Collection[str] | None] = None
    """The queues that the actor declares. RivetKit answers a message to any other as completed
    and drops it, and so does the server then, with a warning. None: every queue exists."""

    _context: ActorContext | None = None

    @property
    def context(self) -> ActorContext:
        """What the actor can do: broadcast, look at its connections, take from queues, end.

        Raises:
            RuntimeError: in ``__init__``, where there is none yet: use `on_create`.
        """
        if self._context is None:
            raise RuntimeError("an actor has its context from on_create on, not in __init__")
        return self._context

    async def on_create(self, input: Any) -> None:
        """Called once, before everything else, with the input of the creation or None."""

    async def on_wake(self) -> None:
        """Called at every start: after `on_create`, after a sleep, after a restart."""

    async def on_sleep(self) -> None:
        """Called before the actor goes to sleep."""

    async def on_destroy(self) -> None:
        """Called when the actor is destroyed."""

    async def on_before_connect(self, connection: ActorConnection) -> None:
        """Called for every connection before it is accepted, and for every call over HTTP.

        Not for raw requests and raw WebSockets. It may take five seconds. It stands for
        RivetKit's ``onBeforeConnect`` and ``createConnState``.

        Look at ``connection.params``, set ``connection.state``; raise a `UserError` or an
        `ActorError` to refuse.
        """

    async def on_connect(self, connection: ActorConnection) -> None:
        """Called for every connection that was accepted, and for every call over HTTP.

        The connection is one of ``context.connections``, but the client does not know yet that
        it is connected. In 2.3 ``connection.send`` greets it, and what is raised here refuses it.
        Up to 2.2 ``connection.send`` raises RuntimeError, and what is raised here closes the
        connection with code 1000: the client sees a `ConnectionLostError`. A call over HTTP is
        then made all the same.
        """

    async def can_subscribe(self, connection: ActorConnection, event: str) -> bool:
        """Called before a connection is subscribed to an event; it may take five seconds.

        It stands for the ``canSubscribe`` of all events. False refuses with ``auth.forbidden``;
        raise a `UserError` or an `ActorError` to refuse with that. 2.1 and 2.2 answer with an
        error that belongs to no call, 2.3 closes the connection. 2.0 does not ask.
        """
        return True

    async def on_disconnect(self, connection: ActorConnection) -> None:
        """Called when a connection has ended, and after every call over HTTP."""

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a raw HTTP request (`ActorHandle.fetch`).

        Its URL begins at the actor: ``handle.fetch("/history?limit=5")`` arrives as
        ``http://actor/history?limit=5``, with its body read.
        """
        return httpx.Response(404, text="this actor has no on_request")

    async def on_websocket(self, socket: ActorSocket) -> None:
        """Serve a raw WebSocket (`ActorHandle.websocket`); it is closed on return.

        An exception closes it with code 1011 and the error's group and code.
        """
        raise UserError("this actor has no on_websocket", code="no_websocket")

    async def run(self) -> None:
        """What the actor does by itself, queues above all; cancelled when it stops.

        It begins anew whenever the actor wakes. When it raises, leaving the server's block raises
        `ActorCrashError`.
        """


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function)


_HOOKS = frozenset(name for name in vars(Actor) if not name.startswith("_"))


def actions_of(cls: type[Actor]) -> dict[str, str]:
    """Names of actions to names of methods.

    Raises:
        ConfigError: when two methods are one action.
    """
    found: dict[str, str] = {}
    for method in dir(cls):
        function = inspect.getattr_static(cls, method)
        if isinstance(function, (staticmethod, classmethod)):
            function = function.__func__
        if not _is_async(function) or method in _HOOKS:
            continue
        name = getattr(function, _NAME, method)
        if name.startswith("_"):
            continue
        if name in found:
            raise ConfigError(
                f"{cls.__name__} has the action {name!r} twice: {found[name]} and {method}"
            )
        found[name] = method
    return found
