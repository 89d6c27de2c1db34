"""Health: what a program answers to a readiness probe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ._connection.connection import Connection
from ._connection.status import Status, StatusChange
from ._text import in_short
from ._typed.actor import TypedActor
from ._watch import Feed

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


def health(*connections: Connection | TypedActor[Any, Any] | Feed[Any]) -> Health:
    """How connections are at this moment, for a readiness probe. Asks the server nothing.

    A connection that is not ready comes back by itself, unless its block has ended: answer a probe
    of liveness without it. May be called from any thread.

    Args:
        connections: Connections from ``handle.connect()``, typed ones as well. One whose block is
            not entered yet is not ready. Or feeds from ``watch()``: the connection of each source
            counts. A feed outside its block counts as one connection that is not ready.

    Raises:
        TypeError: one is neither a connection nor a feed, or there is none.
    """
    if not connections:
        raise TypeError("health takes at least one connection or feed")
    changes = [change for one in connections for change in _changes_of(one)]
    away = [change for change in changes if change.status is not Status.CONNECTED]
    error = next((change.error for change in away if change.error is not None), None)
    return Health(not away, len(changes) - len(away), len(changes), error)


def _changes_of(given: object) -> Iterator[StatusChange]:
    """The last status change of each connection."""
    if isinstance(given, Feed):
        if not given._is_entered or given._is_closed:
            yield StatusChange(Status.CLOSED)
        for source in tuple(given._sources.by_key.values()):  # another thread may add one
            yield source.change
        return
    found = given._connection if isinstance(given, TypedActor) else given
    if not isinstance(found, Connection):
        raise TypeError(
            "health takes connections and feeds, as handle.connect() and watch() return them, "
            f"not {in_short(given)}"
        )
    yield found._link.state.change
