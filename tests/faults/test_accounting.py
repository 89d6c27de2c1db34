"""The judge itself: it accepts what happened and finds every kind of lie."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from rivet_anyio import ActorError, ConnectError, ConnectionLostError, Gap, Status, StatusChange

from .accounting import Call, Fate, History, violations

LOST = ConnectionLostError("lost")
LOG = [0, 1, 2, 9, 4]


def truth() -> History:
    """A connection that was away once, while somebody else's number 9 was appended."""
    return History(
        calls=[
            Call(0, 0, Fate.RETURNED, 1),
            Call(1, 1, Fate.LOST, None, LOST),
            Call(2, 1, Fate.RETURNED, 3),
            Call(3, 3, Fate.CANCELLED_WAITING),
            Call(9, 3, Fate.CANCELLED),
            Call(4, 3, Fate.RETURNED, 5),
        ],
        items=[(0, 1), (1, 2), (2, 3), Gap(1.0, 2.0, 2), (4, 5)],
        changes=[
            StatusChange(Status.CONNECTED),
            StatusChange(Status.DISCONNECTED, LOST),
            StatusChange(Status.CONNECTING),
            StatusChange(Status.DISCONNECTED, LOST),
            StatusChange(Status.CONNECTING),
            StatusChange(Status.CONNECTED),
            StatusChange(Status.CLOSED),
        ],
        gap_count=1,
        ended=True,
    )


def test_the_truth() -> None:
    assert violations(LOG, [truth()], in_order=True) == []


def _ends_in_two_ways(told: History, log: list[int]) -> None:
    told.changes[-1] = StatusChange(Status.CLOSED, ActorError("auth", "expired"))
    told.endings += [ActorError("auth", "expired")] * 3 + [ActorError("auth", "other")]


Lie = Callable[[History, list[int]], object]

LIES: dict[str, Lie] = {
    "ran 2 times": lambda told, log: log.append(4),
    "never called": lambda told, log: log.append(7),
    "returned 5 and is not there": lambda told, log: log.pop(),
    "(cancelled while it waited: None) ran": lambda told, log: log.append(3),
    "never ended": lambda told, log: told.calls.append(Call(10)),
    "overtook": lambda told, log: told.calls.reverse(),
    "which had returned": lambda told, log: setattr(told.calls[0], "floor", 2),
    "event (4, 6) is none of the log": lambda told, log: told.items.append((4, 6)),
    "event 5 came after 5": lambda told, log: told.items.append((4, 5)),
    "event 1 came after 3": lambda told, log: told.items.insert(3, (0, 1)),
    "events 4 to 4 are missing": lambda told, log: told.items.pop(3),
    "events 2 to 2 are missing": lambda told, log: told.items.pop(1),
    "returned 5, but that event never came": lambda told, log: told.items.pop(),
    "1 events were dropped": lambda told, log: setattr(told, "dropped", 1),
    "2 gaps were counted": lambda told, log: setattr(told, "gap_count", 2),
    "2 gaps were told": lambda told, log: told.items.append(Gap(3.0, 4.0, 0)),
    "began in": lambda told, log: told.items.append(Gap(1.5, 4.0, 0)),
    "tell of 1 attempts": lambda told, log: told.items.__setitem__(3, Gap(1.0, 2.0, 1)),
    "streams never ended": lambda told, log: setattr(told, "ended", False),
    "its states are": lambda told, log: told.changes.pop(),
    "connected followed disconnected": lambda told, log: told.changes.pop(4),
    "lost for no reason": lambda told, log: told.changes.__setitem__(
        1, StatusChange(Status.DISCONNECTED)
    ),
    "it was left, and raised": lambda told, log: told.endings.append(LOST),
    "it gave up for": lambda told, log: told.changes.__setitem__(
        -1, StatusChange(Status.CLOSED, ConnectError("bad gateway", status=502))
    ),
    "0 of 4 were told": lambda told, log: told.changes.__setitem__(
        -1, StatusChange(Status.CLOSED, ActorError("auth", "expired"))
    ),
    "something on it raised": _ends_in_two_ways,
}


@pytest.mark.parametrize("found", LIES)
def test_lies(found: str) -> None:
    told, log = truth(), copy.copy(LOG)
    LIES[found](told, log)
    assert any(found in broken for broken in violations(log, [told], in_order=True))
