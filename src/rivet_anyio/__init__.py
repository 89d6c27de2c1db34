"""A structured-concurrency client for Rivet Actors, on Trio and asyncio through AnyIO."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from ._actions import ActionCall
    from ._client import ActorAccessor, ActorList, Client
    from ._connection import Connection
    from ._errors import (
        ActorError,
        ActorSpecifier,
        ClosedError,
        ConfigError,
        ConnectError,
        ConnectionLostError,
        EventGapError,
        EventOverflowError,
        ProtocolError,
        RivetError,
        TransportError,
    )
    from ._events import EventStream, Gap
    from ._handle import ActorHandle
    from ._members import ActorEvent, ActorQueue, Event, Queue, action, event, queue
    from ._queues import QueueResult
    from ._retry import Retry
    from ._socket import ActorWebSocket
    from ._status import Status, StatusChange, StatusStream
    from ._typed import Actor
    from .protocol.management import ActorInfo

__all__ = [
    "ActionCall",
    "Actor",
    "ActorAccessor",
    "ActorError",
    "ActorEvent",
    "ActorHandle",
    "ActorInfo",
    "ActorList",
    "ActorQueue",
    "ActorSpecifier",
    "ActorWebSocket",
    "Client",
    "ClosedError",
    "ConfigError",
    "ConnectError",
    "Connection",
    "ConnectionLostError",
    "Event",
    "EventGapError",
    "EventOverflowError",
    "EventStream",
    "Gap",
    "ProtocolError",
    "Queue",
    "QueueResult",
    "Retry",
    "RivetError",
    "Status",
    "StatusChange",
    "StatusStream",
    "TransportError",
    "__version__",
    "action",
    "event",
    "queue",
]

# A public name is imported when it is first used: `rivet_anyio.cli` and other modules below this
# one start without the client and what it needs.
_PLACES = {
    "ActionCall": "_actions",
    "Actor": "_typed",
    "ActorAccessor": "_client",
    "ActorError": "_errors",
    "ActorEvent": "_members",
    "ActorHandle": "_handle",
    "ActorInfo": "protocol.management",
    "ActorList": "_client",
    "ActorQueue": "_members",
    "ActorSpecifier": "_errors",
    "ActorWebSocket": "_socket",
    "Client": "_client",
    "ClosedError": "_errors",
    "ConfigError": "_errors",
    "ConnectError": "_errors",
    "Connection": "_connection",
    "ConnectionLostError": "_errors",
    "Event": "_members",
    "EventGapError": "_errors",
    "EventOverflowError": "_errors",
    "EventStream": "_events",
    "Gap": "_events",
    "ProtocolError": "_errors",
    "Queue": "_members",
    "QueueResult": "_queues",
    "Retry": "_retry",
    "RivetError": "_errors",
    "Status": "_status",
    "StatusChange": "_status",
    "StatusStream": "_status",
    "TransportError": "_errors",
    "action": "_members",
    "event": "_members",
    "queue": "_members",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
