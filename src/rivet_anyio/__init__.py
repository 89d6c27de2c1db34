"""A structured-concurrency client for Rivet Actors, on Trio and asyncio through AnyIO."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from ._actions import ActionCall
    from ._client import ActorAccessor, ActorList, Client
    from ._connection.connection import Connection
    from ._connection.events import EventStream, Gap, NamedEvent
    from ._connection.status import Status, StatusChange, StatusStream
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
    from ._forward import forward
    from ._handle import ActorHandle
    from ._health import Health, health
    from ._live import Live, Versions, live
    from ._management import Management
    from ._raw_websocket import ActorWebSocket
    from ._retry import Retry
    from ._typed.actor import TypedActor
    from ._typed.members import Event, Queue, TypedEvent, TypedQueue, action, event, queue
    from ._types import QueueResult
    from ._watch import (
        Feed,
        FeedStatistics,
        SourceEvent,
        SourceFailed,
        SourceGap,
        SourceStatistics,
        watch,
    )
    from .protocol.management import ActorInfo
    from .protocol.objects import UNDEFINED

__all__ = [
    "UNDEFINED",
    "ActionCall",
    "ActorAccessor",
    "ActorError",
    "ActorHandle",
    "ActorInfo",
    "ActorList",
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
    "Feed",
    "FeedStatistics",
    "Gap",
    "Health",
    "Live",
    "Management",
    "NamedEvent",
    "ProtocolError",
    "Queue",
    "QueueResult",
    "Retry",
    "RivetError",
    "SourceEvent",
    "SourceFailed",
    "SourceGap",
    "SourceStatistics",
    "Status",
    "StatusChange",
    "StatusStream",
    "TransportError",
    "TypedActor",
    "TypedEvent",
    "TypedQueue",
    "Versions",
    "__version__",
    "action",
    "event",
    "forward",
    "health",
    "live",
    "queue",
    "watch",
]

_PLACES = {
    "ActionCall": "_actions",
    "TypedActor": "_typed.actor",
    "ActorAccessor": "_client",
    "ActorError": "_errors",
    "TypedEvent": "_typed.members",
    "ActorHandle": "_handle",
    "ActorInfo": "protocol.management",
    "ActorList": "_client",
    "TypedQueue": "_typed.members",
    "ActorSpecifier": "_errors",
    "ActorWebSocket": "_raw_websocket",
    "Client": "_client",
    "ClosedError": "_errors",
    "ConfigError": "_errors",
    "ConnectError": "_errors",
    "Connection": "_connection.connection",
    "ConnectionLostError": "_errors",
    "Event": "_typed.members",
    "EventGapError": "_errors",
    "EventOverflowError": "_errors",
    "EventStream": "_connection.events",
    "Feed": "_watch",
    "FeedStatistics": "_watch",
    "Gap": "_connection.events",
    "Health": "_health",
    "Live": "_live",
    "Management": "_management",
    "NamedEvent": "_connection.events",
    "ProtocolError": "_errors",
    "Queue": "_typed.members",
    "QueueResult": "_types",
    "Retry": "_retry",
    "RivetError": "_errors",
    "SourceEvent": "_watch",
    "SourceFailed": "_watch",
    "SourceGap": "_watch",
    "SourceStatistics": "_watch",
    "Status": "_connection.status",
    "StatusChange": "_connection.status",
    "StatusStream": "_connection.status",
    "TransportError": "_errors",
    "UNDEFINED": "protocol.objects",
    "Versions": "_live",
    "action": "_typed.members",
    "event": "_typed.members",
    "forward": "_forward",
    "health": "_health",
    "live": "_live",
    "queue": "_typed.members",
    "watch": "_watch",
}
"""Where each name is. It is imported at its first use: the command line needs few of them."""

if not TYPE_CHECKING:  # type checkers would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f".{_PLACES[name]}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
