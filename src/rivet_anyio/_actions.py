"""Actions by attribute: ``handle.increment(1)``, ``handle.math.add(1, 2)``.

Every attribute is an action, but for a few names: what Python's own protocols and users of other
clients call would be sent to the actor.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Never, NoReturn, Protocol

__all__ = [
    "CLIENT_ADVICE",
    "CONNECTION_ADVICE",
    "HANDLE_ADVICE",
    "ActionCall",
    "ActionCaller",
    "check_attribute",
    "refuse_attribute",
]


def _everywhere(end: str, events: str, status: str) -> dict[str, str]:
    """Advice for the names that are no actions anywhere."""
    return {
        **dict.fromkeys(("close", "aclose", "dispose", "disconnect"), end),
        "on": f"events are iterated: {events}async for value in conn.events(name)",
        "once": f"one event is awaited: {events}await conn.next_event(name)",
        "getOrCreate": "write client.<actor>.get_or_create(key)",
        "onOpen": f"entering the connection's block waits until it is open; {status}",
        "onClose": status,
        "onError": "errors are raised where you wait: by actions, streams of events, and the "
        "connection's block",
    }


_CONNECTING = "async with handle.connect() as conn: "
_STATUS = "async for change in conn.status_changes()"

CLIENT_ADVICE: Mapping[str, str] = _everywhere(
    "a client ends with its block: async with Client(...) as client",
    _CONNECTING,
    _CONNECTING + _STATUS,
)
HANDLE_ADVICE: Mapping[str, str] = {
    **_everywhere(
        "a handle has nothing to close; a connection ends with its block: "
        "async with handle.connect() as conn",
        _CONNECTING,
        _CONNECTING + _STATUS,
    ),
    "events": f"events come over a connection: {_CONNECTING}conn.events(name)",
    "next_event": f"events come over a connection: {_CONNECTING}await conn.next_event(name)",
    "status": f"only a connection has a status: {_CONNECTING}conn.status",
    "status_changes": f"only a connection has a status: {_CONNECTING}conn.status_changes()",
    "wait_connected": f"only a connection has a status: {_CONNECTING}await conn.wait_connected()",
}
CONNECTION_ADVICE: Mapping[str, str] = {
    **_everywhere(
        "a connection ends with its block: async with handle.connect() as conn",
        "",
        f"the status is iterated: {_STATUS}",
    ),
    "fetch": "HTTP requests are the handle's: await handle.fetch(path)",
    "stream": "HTTP requests are the handle's: async with handle.stream(path) as response",
    "websocket": "other WebSockets are the handle's: async with handle.websocket(path) as ws",
    "resolve": "read conn.actor_id, or await handle.resolve()",
    "gateway_url": "await handle.gateway_url()",
    "connect": "this is a connection; another one is made by handle.connect()",
}


_OPTIONS = ("retry_for", "skip_ready_wait")
"""Options of ``action()`` that calls by an attribute do not have."""


class ActionCaller(Protocol):
    """What can call an action by its name."""

    @property
    def action(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Call an action: its name, its arguments, and ``type=``."""
        ...


class ActionCall:
    """An action, not called yet; further attributes are joined to its name by dots."""

    __slots__ = ("_actor", "_caller", "_name")

    def __init__(self, caller: ActionCaller, actor: str, name: str) -> None:
        self._caller = caller
        self._actor = actor
        self._name = name

    def __call__(self, *args: Any, type: Any = Any, **named: Never) -> Coroutine[Any, Any, Any]:
        """Call the action with positional arguments; `type` checks and converts the result.

        Raises:
            TypeError: an argument has a name.

        Other errors, and cancellation: as `ActorHandle.action` or `Connection.action`.
        """
        for name in named:
            way = "a typed actor takes them by name"
            if name in _OPTIONS:
                way = f"for the option, write .action({self._name!r}, ..., {name}=...)"
            raise TypeError(
                f"action {self._name!r} takes arguments by position, not {name}=; {way}"
            )
        call: Any = self._caller.action(self._name, *args, type=type)
        # What Python's warning names when the await was forgotten.
        call.__qualname__ = f"{self._actor}.{self._name}"
        return call  # type: ignore[no-any-return]

    # Frameworks ask before they call whether there will be something to await.
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(__call__)
    else:
        __call__.__code__ = __call__.__code__.replace(
            co_flags=__call__.__code__.co_flags | inspect.CO_COROUTINE
        )

    def __getattr__(self, name: str) -> ActionCall:
        if name.startswith("__"):
            raise AttributeError(name)
        return ActionCall(self._caller, self._actor, f"{self._name}.{name}")

    def __repr__(self) -> str:
        return f"<action {self._name!r} of {self._caller!r}>"


def check_attribute(caller: ActionCaller, name: str, advice: Mapping[str, str]) -> None:
    """Check that ``caller.name`` is an action: `copy` asks for others before there is anything.

    Raises:
        AttributeError: for names that begin with an underscore, and for those that `advice` has
            something to say of.
    """
    if name.startswith("_") or name in advice:
        way = f"an action of this name is called by .action({name!r}, ...)"
        refuse_attribute(caller, name, advice, way)


def refuse_attribute(
    owner: object, name: str, advice: Mapping[str, str], way: str = ""
) -> NoReturn:
    """Raise `AttributeError` with the advice for this name, and the way to what it may mean."""
    said = [f"{type(owner).__name__!r} has no attribute {name!r}", advice.get(name), way]
    raise AttributeError("; ".join(filter(None, said)), name=name, obj=owner)
