"""Tests of programs that use actors: an actor server in memory, faults, virtual time."""

from ._actors import Actor, UserError, action
from ._collect import CollectError, Receiver, collect
from ._context import ActorContext, ActorSchedule
from ._faults import Faults
from ._network import Network
from ._peers import ActorConnection, ActorSocket
from ._queue import ActorQueue, QueueMessage
from ._records import (
    ActionCalled,
    ActorCreated,
    ActorDestroyed,
    ActorRef,
    Connected,
    Disconnected,
    Log,
    MessageQueued,
    Record,
    Refused,
    Requested,
    SocketClosed,
    SocketOpened,
    Subscribed,
    Unsubscribed,
)
from ._server import (
    ActorCrashError,
    ActorServer,
    ClientOptions,
    ConnectionLeakError,
    NothingArrivedError,
    UnusedFaultError,
)
from ._simulate import explore, simulate
from ._time import DeadlockError, VirtualTimeLoop, run_virtual, virtual_backend

__all__ = [
    "ActionCalled",
    "Actor",
    "ActorConnection",
    "ActorContext",
    "ActorCrashError",
    "ActorCreated",
    "ActorDestroyed",
    "ActorQueue",
    "ActorRef",
    "ActorSchedule",
    "ActorServer",
    "ActorSocket",
    "ClientOptions",
    "CollectError",
    "Connected",
    "ConnectionLeakError",
    "DeadlockError",
    "Disconnected",
    "Faults",
    "Log",
    "MessageQueued",
    "Network",
    "NothingArrivedError",
    "QueueMessage",
    "Receiver",
    "Record",
    "Refused",
    "Requested",
    "SocketClosed",
    "SocketOpened",
    "Subscribed",
    "Unsubscribed",
    "UnusedFaultError",
    "UserError",
    "VirtualTimeLoop",
    "action",
    "collect",
    "explore",
    "run_virtual",
    "simulate",
    "virtual_backend",
]
