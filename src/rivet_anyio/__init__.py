"""A structured-concurrency client for Rivet Actors, on Trio and asyncio through AnyIO."""

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
from ._live import Live, Versions, live
from ._management import Management
from ._raw_websocket import ActorWebSocket
from ._retry import Retry
from ._typed.actor import Actor
from ._typed.members import ActorEvent, ActorQueue, Event, Queue, action, event, queue
from ._types import QueueResult
from ._version import __version__
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
    "Feed",
    "FeedStatistics",
    "Gap",
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
    "Versions",
    "__version__",
    "action",
    "event",
    "forward",
    "live",
    "queue",
    "watch",
]
