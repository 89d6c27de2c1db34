"""Tests of programs that use actors: an actor server in memory, faults, virtual time."""

from importlib import import_module

try:
    import_module("wsproto")
except ImportError as exc:
    raise ImportError(
        "rivet_anyio.testing needs wsproto: pip install 'rivet-anyio[testing]'"
    ) from exc

from ._actors import Actor, UserError
from ._cassette import Cassette, CassetteError, record, replay
from ._collect import CollectError, Receiver, collect
from ._context import ActorContext, ActorSchedule
from ._contract import ContractError, check_contract
from ._determinism import assert_deterministic
from ._faults import Faults, ManagementRequest
from ._network import Direction, Latency, Network, NetworkFault
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
from ._schedule import Fault, FaultName, explore_faults, fault_schedules, play_faults
from ._seeds import virtual_backend
from ._server import (
    ActorCrashError,
    ActorServer,
    ClientOptions,
    ConnectionLeakError,
    NothingArrivedError,
    UnusedFaultError,
)
from ._simulate import explore, simulate
from ._time import DeadlockError, VirtualTimeLoop, run_virtual

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
    "Cassette",
    "CassetteError",
    "ClientOptions",
    "CollectError",
    "Connected",
    "ConnectionLeakError",
    "ContractError",
    "DeadlockError",
    "Direction",
    "Disconnected",
    "Fault",
    "FaultName",
    "Faults",
    "Latency",
    "Log",
    "ManagementRequest",
    "MessageQueued",
    "Network",
    "NetworkFault",
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
    "assert_deterministic",
    "check_contract",
    "collect",
    "explore",
    "explore_faults",
    "fault_schedules",
    "play_faults",
    "record",
    "replay",
    "run_virtual",
    "simulate",
    "virtual_backend",
]

for _name in __all__:
    if _name.endswith("Error"):  # tracebacks show the name that programs import
        globals()[_name].__module__ = __name__
