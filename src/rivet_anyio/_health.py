"""Health: what a program answers to a readiness probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._connection.connection import Connection
from ._connection.status import Status
from ._typed.actor import TypedActor

__all__ = ["Health", "health"]


@dataclass(frozen=True, slots=True)
class Health:
    """How connections are at one moment, from `health`.

    Attributes:
        ready: Whether all are connected.
        connected: How many are.
        total: How many there are.
        error: Why one of them is not, where a reason is known.
    """

    ready: bool
    connected: int
    total: int
    error: BaseException | None


def health(*connections: Connection | TypedActor[Any, Any]) -> Health:
    """How connections are at this moment, for a readiness probe. Asks the server nothing.

    A connection that is not ready comes back by itself, unless its block has ended: answer a probe
    of liveness without it. May be called from any thread.

    Args:
        connections: Connections from ``handle.connect()``, typed ones as well. One whose block is
            not entered yet is not ready.

    Raises:
        TypeError: one is not a connection, or there is none.
    """
    if not connections:
        raise TypeError("health takes at least one connection")
    changes = [_connection_of(one)._link.state.change for one in connections]
    away = [change for change in changes if change.status is not Status.CONNECTED]
    error = next((change.error for change in away if change.error is not None), None)
    return Health(not away, len(changes) - len(away), len(changes), error)


def _connection_of(given: object) -> Connection:
    found = given
    if isinstance(given, TypedActor):
        found = given._connection
    if not isinstance(found, Connection):
        raise TypeError(
            f"health takes connections, as handle.connect() returns them, not {given!r:.100}"
        )
    return found
