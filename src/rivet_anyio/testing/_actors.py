"""Actors written in Python: the class that users derive from, and what it finds in itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from difflib import get_close_matches
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from .._errors import ActorError, ConfigError
from .._text import in_short
from .._typed.members import RETRY_FOR, SERVER_NAME

if TYPE_CHECKING:
    from ._context import ActorContext
    from ._peers import ActorConnection, ActorSocket

__all__ = ["Actor", "UserError", "actions_of", "check_class"]


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


class Actor:
    """An actor of an `ActorServer`: derive from it, and every public ``async def`` is an action.

    Names are not translated: a method ``sendMessage`` is the action ``sendMessage``;
    `rivet_anyio.action` gives it another name. Methods that begin with an underscore, or are no
    ``async def``, are none, and neither are the hooks below. A method or an attribute that is
    spelt nearly as a hook or a setting, ``onConnect`` or ``on_conect``, is a `ConfigError` at the
    class statement; `rivet_anyio.action` makes an action of it all the same.

    Attributes of the object are the actor's state, except those that begin with an underscore.
    A list, dict or set of the class is an error, unless it is annotated as a ClassVar: all actors
    would share it.
    The state is saved as RivetKit saves it, encoded, and comes back when the actor wakes after a
    sleep or a restart of the server. Then the actor is made anew, and what its ``__init__`` sets
    is replaced by what was saved. A call after which the state cannot be encoded fails with the
    internal error; the log names the path. What cannot be saved belongs into an attribute that
    begins with an underscore, or into `ActorContext.vars`.

    Raise a `UserError` (or any `ActorError`) to answer with an error. Any other exception becomes
    the internal error that RivetKit makes of it, and is logged with its traceback.
    """

    queues: ClassVar[Collection[str] | None] = None
    """The queues that the actor declares. RivetKit answers a message to any other as completed
    and drops it, and so does the server then, with a warning. None: every queue exists."""

    sleep_timeout: ClassVar[float | None] = 30.0
    """After how many seconds of rest the actor sleeps by itself. It does not rest while it has
    open connections or raw WebSockets, while a call is under way, and while `run` does anything
    but wait for a queue. None: only `ActorContext.sleep` makes it sleep."""

    action_timeout: ClassVar[float] = 60.0
    """How many seconds an action may take. After that the caller sees
    ``actor.action_timed_out`` (``action.timed_out`` up to 2.2), and the action goes on, as on real
    servers. In 2.3 it is also the limit of `on_request`, and of waiting for a queue."""

    state_save_interval: ClassVar[float] = 1.0
    """Seconds between two saves of a state that changes. ``restart(unsaved="lost")`` loses what
    came after the last save; `ActorContext.save_state` saves at once."""

    max_queue_message_size: ClassVar[int] = 64 * 1024
    """How many bytes a message of a queue may have, as it is stored. A longer one is refused:
    ``queue.message_too_large``."""

    _context: ActorContext | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_class(cls)

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

        A raw request and a raw WebSocket are connections, too. It may take five seconds.

        Look at ``connection.params``; raise a `UserError` or an `ActorError` to refuse.
        """

    async def create_conn_state(self, connection: ActorConnection) -> Any:
        """Called after `on_before_connect`; what it returns becomes ``connection.state``.

        It may refuse, too, and take five seconds.
        """
        return connection.state

    async def create_vars(self) -> Any:
        """Called before `on_wake`; what it returns is `ActorContext.vars` until the actor stops."""
        return SimpleNamespace()

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
        ``http://actor/history?limit=5``, with its body read. An actor without this hook answers
        with status 404.
        """
        raise NotImplementedError

    async def on_websocket(self, socket: ActorSocket) -> None:
        """Serve a raw WebSocket (`ActorHandle.websocket`); it is closed on return.

        In 2.3 an exception closes it with code 1011 and the error's group and code; up to 2.2 it
        stays open, and nothing comes. As on real servers, an actor without this hook accepts a raw
        WebSocket and never sends anything on it.
        """
        async for _ in socket:
            pass

    async def run(self) -> None:
        """What the actor does by itself, queues above all; cancelled when it stops.

        It begins anew whenever the actor wakes. When it raises, leaving the server's block raises
        `ActorCrashError`. RivetKit 2.1 destroys an actor whose ``run`` ends, and so does the server
        then; 2.0 does not call it.
        """


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function)


_HOOKS = frozenset(name for name in vars(Actor) if not name.startswith("_"))
_SETTINGS = (
    "queues",
    "sleep_timeout",
    "action_timeout",
    "state_save_interval",
    "max_queue_message_size",
)

_NOT_PLAYED = ("createState", "onStateChange", "onBeforeActionResponse", "onMigrate")
"""Hooks of RivetKit that have no counterpart here."""


def _in_camel_case(name: str) -> str:
    return re.sub("_(.)", lambda found: found[1].upper(), name)


def _in_snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


_MISSPELT = {
    **{_in_camel_case(name): f"name the hook {name!r}" for name in _HOOKS if "_" in name},
    "onWebSocket": "name the hook 'on_websocket'",
    **{
        spelling: f"ActorServer has no hook {name!r}"
        for name in _NOT_PLAYED
        for spelling in (name, _in_snake_case(name))
    },
}
"""How hooks are not written here, and what to do about it."""


_ALIKE = 0.88
"""How alike names are of which one is the other, misspelt: more than the action 'disconnect' is
like the hook 'on_disconnect'."""
_ALIKE_HOOKS = 0.8
"""That of names that begin as hooks do."""


def _check_spelling(cls: type, name: str, value: object) -> None:
    """Refuse what was meant to be a hook or a setting, and is misspelt.

    Raises:
        ConfigError: it is.
    """
    if name in _HOOKS or name.startswith("_") or hasattr(value, SERVER_NAME):
        return
    is_method = callable(value) or isinstance(value, (staticmethod, classmethod))
    if is_method and name in _MISSPELT:
        raise ConfigError(
            f"{cls.__name__}.{name} is spelt like a hook of RivetKit, and nothing would call "
            f"it: {_MISSPELT[name]}, or mark an action of that name with @action({name!r})"
        )
    plain = _in_snake_case(name).strip("_")
    alike = _ALIKE_HOOKS if plain.startswith("on_") else _ALIKE
    known = _HOOKS.difference(_SETTINGS) if is_method else _SETTINGS
    for meant in get_close_matches(plain, known, n=1, cutoff=alike):
        what, way = (
            ("hook", f"mark an action of that name with @action({name!r})")
            if is_method
            else ("setting", f"set self.{name} in __init__")
        )
        raise ConfigError(
            f"{cls.__name__}.{name} is spelt nearly like the {what} {meant!r}: name it so, or {way}"
        )


def check_class(cls: type[Actor]) -> None:
    """Look for hooks that are misspelt, and for state that all actors of a class would share.

    Raises:
        ConfigError: for a hook that would never be called, or such state.
    """
    for owner in cls.__mro__[: cls.__mro__.index(Actor)]:
        for name, value in vars(owner).items():
            _check_spelling(owner, name, value)
            if name.startswith("_") or name == "queues" or not isinstance(value, (list, dict, set)):
                continue
            if "ClassVar" not in str(inspect.get_annotations(owner).get(name)):
                raise ConfigError(
                    f"{owner.__name__}.{name} is {in_short(value)}, one {type(value).__name__} "
                    f"that all actors of the class share: set self.{name} in __init__, or annotate "
                    "what should not be state as a ClassVar"
                )
    for name in _HOOKS:
        function = inspect.getattr_static(cls, name)
        if inspect.isfunction(function) and name != "context" and not _is_async(function):
            raise ConfigError(f"{cls.__name__}.{name} is a hook: write 'async def {name}'")


def actions_of(cls: type[Actor]) -> dict[str, str]:
    """Names of actions to names of methods.

    Raises:
        ConfigError: when two methods are one action, or a method cannot be the action that it is
            marked as.
    """
    found: dict[str, str] = {}
    for method in dir(cls):
        function = inspect.getattr_static(cls, method)
        if isinstance(function, (staticmethod, classmethod)):
            function = function.__func__
        if hasattr(function, SERVER_NAME) and not _is_async(function):
            raise ConfigError(f"{cls.__name__}.{method} is an action: write 'async def {method}'")
        if hasattr(function, RETRY_FOR):
            raise ConfigError(
                f"{cls.__name__}.{method} is called idempotent: that belongs into the class of a "
                "TypedActor, because clients repeat calls"
            )
        if not _is_async(function) or method in _HOOKS:
            continue
        name = getattr(function, SERVER_NAME, None)
        if name is None and method.startswith("_"):
            continue
        name = name or method
        if name in found:
            raise ConfigError(
                f"{cls.__name__} has the action {name!r} twice: {found[name]} and {method}"
            )
        found[name] = method
    return found
