"""Whether an actor was started anew behind a connection that stayed. No I/O, no clock.

Since RivetKit 2.3 a gateway holds the sockets. When an actor's host dies, the gateway goes on to
answer pings, and moves the sockets to the actor's next start without another Init. What the host
had not yet handed over is lost, and nothing on the socket says so. The management API does: its
record of the actor names the present start by the time from which it took connections.

| the record says                     | `Start.state` |
|-------------------------------------|---------------|
| `destroyed_at`                      | UNKNOWN       |
| `connectable_since`                 | RUNNING       |
| neither, but an `error`             | DEAD          |
| none of these, but `sleeping_since` | ASLEEP        |
| none of these: it is being started  | UNKNOWN       |

The rules, of the start that the last check saw, and the one that this check sees. A start that is
UNKNOWN changes nothing and is not remembered.

| before   | now                    | means                                             |
|----------|------------------------|---------------------------------------------------|
| any      | DEAD                   | DEATH: only who connects again wakes the actor    |
| RUNNING  | RUNNING, the same time | nothing                                           |
| RUNNING  | RUNNING, another time  | RESTART: events may be missing                    |
| RUNNING  | ASLEEP                 | nothing: all that it had sent has left            |
| ASLEEP   | RUNNING or ASLEEP      | nothing: it was woken                             |
| not seen | RUNNING or ASLEEP      | nothing: this is the first check                  |

An actor that slept and was woken between two checks looks like one whose host died: that is a
RESTART as well. A death is missed if the actor also slept between the same two checks: after its
new start, or before the death, where the check before had seen it asleep. A record lags: an engine
takes about six seconds to find out that a host is dead.
"""

from __future__ import annotations

import datetime as dt
import enum

import msgspec

from .management import ActorInfo

__all__ = ["Change", "Start", "StartState", "change_between", "start_of"]


class StartState(enum.Enum):
    """See the module."""

    RUNNING = "running"
    ASLEEP = "asleep"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Change(enum.Enum):
    """See the module."""

    NONE = "none"
    RESTART = "restart"
    DEATH = "death"


class Start(msgspec.Struct, frozen=True):
    """What a record says of an actor's present start; `since` while it is running."""

    state: StartState
    since: dt.datetime | None = None


def start_of(actor: ActorInfo | None) -> Start:
    """What a record says; None is none, as of an actor that is gone."""
    if actor is None or actor.destroyed_at is not None:
        return Start(StartState.UNKNOWN)
    if actor.connectable_since is not None:
        return Start(StartState.RUNNING, actor.connectable_since)
    if actor.error is not None:
        return Start(StartState.DEAD)
    if actor.sleeping_since is not None:
        return Start(StartState.ASLEEP)
    return Start(StartState.UNKNOWN)


def change_between(before: Start | None, now: Start) -> Change:
    """What happened between two checks; `before` is None if this is the first."""
    if now.state is StartState.DEAD:
        return Change.DEATH
    if before is None or before.state is not StartState.RUNNING:
        return Change.NONE
    return Change.RESTART if now.state is StartState.RUNNING and now != before else Change.NONE
