"""Keepalive in virtual time: pings of connections that rest are answered, so none is sent.

The same goes for a client's checks of the actors' hosts while those run: they find nothing.

A ping there and back takes a quarter of a millisecond of real time, and fifty connections that
do nothing would spend it ten thousand times an hour. Nor are pings progress: a program in which
nothing else is left to happen waits for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from .._gateway.host_checks import ActorChecks
from .._io.backend import Backend
from .._websocket.connection import State, WebSocketConnection
from ._stuck import frames_of

__all__ = ["ActorHost", "Path", "hosts", "next_moment", "paths"]


class Path(Protocol):
    """What lies between clients and a server."""

    def _answers_within(self, seconds: float) -> bool:
        """Whether bytes get through in so little time."""
        ...


class ActorHost(Protocol):
    """What runs a server's actors."""

    @property
    def news_at(self) -> float:
        """When something changed that checks of hosts find; `inf`: it is going to."""
        ...


paths: WeakKeyDictionary[Path, Backend] = WeakKeyDictionary()
hosts: WeakKeyDictionary[ActorHost, Backend] = WeakKeyDictionary()
"""Those of all servers that run, and where; one whose block was never left stays."""

_KEEPERS = (WebSocketConnection._write.__code__, WebSocketConnection._watch.__code__)
"""Where connections wait for their deadlines."""
_REST = ActorChecks._rest.__code__


def next_moment(timers: Iterable[tuple[float, Any]]) -> float | None:
    """When something happens next that is no keepalive.

    Args:
        timers: Deadlines in their order, and the coroutines that they are of, where that is known.
            No more are read than are due by the time that is returned, and one.

    Returns:
        The time; None: never. The keepalive of connections that rest has gone on until then.
    """
    target = math.inf
    resting: list[WebSocketConnection | ActorChecks] = []
    for deadline, coroutine in timers:
        if deadline > target or deadline == math.inf:
            break
        rests = _resting(coroutine)
        if rests is None:
            target = deadline
        else:
            resting.append(rests)
    if target == math.inf:
        return None
    for connection in resting:
        if isinstance(connection, WebSocketConnection):
            interval = connection.keepalive.interval
            pings = (target - connection.last_received) // interval
            connection.last_received += pings * interval
    return target


def _resting(coroutine: Any) -> WebSocketConnection | ActorChecks | None:
    """The connection whose keepalive this is, if the next ping is sure to be answered.

    Or the checks of a client, if the next one is sure to find nothing new.
    """
    connection: WebSocketConnection | None = None
    for frame in frames_of(coroutine):
        if frame.f_code is _REST:
            checks: ActorChecks = frame.f_locals["self"]
            news = [host.news_at for host, backend in hosts.items() if backend.runs_here()]
            changed_at = max(news, default=math.inf)
            knows_all = all(at > changed_at for at in checks._asked.values())
            return checks if knows_all and not checks._has_failed else None
        if frame.f_code in _KEEPERS:
            connection = frame.f_locals["self"]
        elif connection is not None:
            # The writer also waits for other things.
            waiter = frame.f_locals.get("self")
            is_keepalive = waiter and waiter in (connection._idle_writer, connection._watcher)
            return connection if is_keepalive and _is_resting(connection) else None
    return None


def _is_resting(connection: WebSocketConnection) -> bool:
    keepalive = connection.keepalive
    asked = keepalive._asked
    here = [path for path, backend in paths.items() if backend.runs_here()]
    return (
        connection.state is State.OPEN
        and connection._deadline == math.inf
        and connection._paused is None
        and not keepalive._is_queued
        and (asked is None or connection.last_received >= asked)
        and len(here) > 0
        and all(path._answers_within(keepalive.timeout) for path in here)
    )
