"""What became of every action and every event, held against the actor's own log.

A `History` is what one connection told its user. `violations` is the judge: it knows nothing of
faults, proxies or clients, only what docs/reliability.md promises.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from rivet_anyio import ActorError, ConnectError, Connection, Gap, Status, StatusChange
from rivet_anyio._connection.state import Phase

__all__ = ["Call", "Fate", "History", "lost_id", "violations", "was_restarted"]


class Fate(enum.Enum):
    """How an action ended for its caller, as far as that says whether it ran."""

    PENDING = "pending"
    RETURNED = "returned"
    LOST = "lost"
    """`ConnectionLostError`: maybe."""
    NOT_RUN = "not run"
    """An error that says no."""
    FAILED = "failed"
    """Another error: maybe."""
    CANCELLED = "cancelled"
    """Maybe."""
    CANCELLED_WAITING = "cancelled while it waited"
    """The connection was away from the call to the cancellation: no."""


@dataclass(slots=True)
class Call:
    """One action: its number is its argument, `seq` is what it returned.

    `floor` is the highest `seq` that had been returned when it was called, `called_away` whether
    the connection was away then.
    """

    number: int
    floor: int = 0
    fate: Fate = Fate.PENDING
    seq: int | None = None
    error: BaseException | None = None
    called_away: bool = False


def lost_id(conn: Connection) -> str | None:
    """The id of a connection that was lost, while nothing can leave; None at other times.

    While subscriptions are confirmed it has its new id already. A call that is made then may leave
    under that id.
    """
    resubscribes = conn._link.state.phase is Phase.RESUBSCRIBING
    return None if conn.status is Status.CONNECTED or resubscribes else conn.connection_id


Appended = tuple[int, int]
"""An event: the number, and its place in the log, counted from 1."""


@dataclass(slots=True)
class History:
    """What one connection told.

    Attributes:
        calls: The actions, in the order in which they were called.
        items: What its one event stream delivered.
        changes: What its status changes delivered.
        gap_count: `EventStream.gaps` at the end.
        dropped: `EventStream.dropped` at the end.
        endings: What the stream and every late use of the connection raised after it had failed
            for good; empty when its block was left while it was usable.
        ended: Whether stream and status changes both came to an end.
    """

    calls: list[Call] = field(default_factory=list)
    items: list[Appended | Gap] = field(default_factory=list)
    changes: list[StatusChange] = field(default_factory=list)
    gap_count: int = 0
    dropped: int = 0
    endings: list[BaseException] = field(default_factory=list)
    ended: bool = False


def violations(
    log: list[int],
    histories: list[History],
    *,
    in_order: bool,
    elsewhere: Iterable[Call] = (),
) -> list[str]:
    """Every promise that was broken, in words.

    Args:
        log: The actor's own log.
        histories: All connections by which anything was appended to it.
        in_order: Whether the server begins the actions of a connection in the order in which
            they come.
        elsewhere: What was called without a connection.
    """
    calls = [call for history in histories for call in history.calls]
    found = list(_of_actions(log, [*calls, *elsewhere]))
    for index, history in enumerate(histories):
        if in_order:
            found += _of_order(history.calls)
        for rule in (_of_events, _of_gaps, _of_states, _of_endings):
            found += [f"connection {index}: {broken}" for broken in rule(log, history)]
    return found


def _of_actions(log: list[int], calls: list[Call]) -> Iterator[str]:
    times = Counter(log)
    for number, count in times.items():
        if count > 1:
            yield f"action {number} ran {count} times"
    for number in times.keys() - {call.number for call in calls}:
        yield f"action {number} ran and was never called"
    for call in calls:
        ran = times[call.number]
        if call.fate is Fate.PENDING:
            yield f"action {call.number} never ended"
        elif call.fate is Fate.RETURNED:
            if call.seq is None or log[call.seq - 1 : call.seq] != [call.number]:
                yield f"action {call.number} returned {call.seq} and is not there in the log"
        elif call.fate in (Fate.NOT_RUN, Fate.CANCELLED_WAITING) and ran:
            yield f"action {call.number} ({call.fate.value}: {call.error!r}) ran"
        if call.seq is not None and call.seq <= call.floor:
            yield f"action {call.number} ran before {call.floor}, which had returned"


def _of_order(calls: list[Call]) -> Iterator[str]:
    returned = [call for call in calls if call.seq is not None]
    for call, later in pairwise(returned):
        if call.seq is not None and later.seq is not None and call.seq >= later.seq:
            yield f"action {later.number} overtook {call.number}"


def _of_events(log: list[int], history: History) -> Iterator[str]:
    events = _events(history.items)
    for number, seq in events:
        if log[seq - 1 : seq] != [number]:
            yield f"event {(number, seq)} is none of the log"
    for (_, seq), (_, later) in pairwise(events):
        if later <= seq:
            yield f"event {later} came after {seq}"
    before: int | None = None
    may_miss = False
    for item in history.items:
        if isinstance(item, Gap):
            may_miss = True
            continue
        if before is not None and item[1] > before + 1 and not may_miss:
            yield f"events {before + 1} to {item[1] - 1} are missing, and no gap was told there"
        before, may_miss = item[1], False
    seen = {seq for _, seq in events}
    for call in history.calls:
        # The subscription was there before the action, and the event left before the answer;
        # unless the actor was started anew behind its gateway, which repeated the call.
        if call.seq is None or call.seq in seen:
            continue
        if not (was_restarted(history.changes) and _is_in_gap(call.seq, history.items)):
            yield f"action {call.number} returned {call.seq}, but that event never came"
    if history.dropped:
        yield f"{history.dropped} events were dropped"


def was_restarted(changes: list[StatusChange]) -> bool:
    """Whether the actor was started anew behind its gateway, while the connection stayed."""
    return any(
        (before.status, change.status) == (Status.CONNECTED, Status.CONNECTING)
        for before, change in pairwise(changes)
    )


def _is_in_gap(seq: int, items: list[Appended | Gap]) -> bool:
    before, is_gap = 0, False
    for item in items:
        if isinstance(item, Gap):
            is_gap = True
        elif is_gap and before < seq < item[1]:
            return True
        else:
            before, is_gap = item[1], False
    return seq > before  # it may have ended in a gap


def _of_gaps(log: list[int], history: History) -> Iterator[str]:
    gaps = [item for item in history.items if isinstance(item, Gap)]
    returns = _count(history.changes, Status.CONNECTED) - 1
    if history.gap_count != returns:
        yield f"{history.gap_count} gaps were counted, and it came back {returns} times"
    if bool(gaps) != (returns > 0) or len(gaps) > returns:
        yield f"{len(gaps)} gaps were told, and it came back {returns} times"
    for gap, later in pairwise(gaps):
        if later.since < gap.until:
            yield f"{later} began in {gap}"
    # Every attempt that led to a return belongs to exactly one gap.
    last = max(
        (i for i, change in enumerate(history.changes) if change.status is Status.CONNECTED),
        default=0,
    )
    attempts = sum(
        (before.status, change.status) == (Status.DISCONNECTED, Status.CONNECTING)
        for before, change in pairwise(history.changes[:last])
    )
    told = sum(gap.attempts for gap in gaps)
    if told != attempts:
        yield f"the gaps tell of {told} attempts, and there were {attempts}"


_FOLLOWING = {
    # Connecting, without an attempt: the actor was started anew behind its gateway.
    Status.CONNECTED: (Status.DISCONNECTED, Status.CONNECTED, Status.CONNECTING, Status.CLOSED),
    Status.DISCONNECTED: (Status.CONNECTING, Status.CLOSED),
    Status.CONNECTING: (Status.CONNECTED, Status.DISCONNECTED, Status.CLOSED),
    Status.CLOSED: (),
}


def _of_states(log: list[int], history: History) -> Iterator[str]:
    if not history.ended:
        yield "its streams never ended"
    states = [change.status for change in history.changes]
    if not states or states[0] is not Status.CONNECTED or states[-1] is not Status.CLOSED:
        yield f"its states are {states[:1]} to {states[-1:]}"
    for state, following in pairwise(states):
        if following not in _FOLLOWING[state]:
            yield f"{following} followed {state}"
    for change in history.changes:
        if change.status is Status.DISCONNECTED and change.error is None:
            yield "it was lost for no reason"


def _of_endings(log: list[int], history: History) -> Iterator[str]:
    cause = history.changes[-1].error if history.changes else None
    if cause is None:
        if history.endings:
            yield f"it was left, and raised {history.endings}"
        return
    if not _may_end(cause):
        yield f"it gave up for {cause!r}"
    for error in history.endings:
        if type(error) is not type(cause) or str(error) != str(cause):
            yield f"it failed with {cause!r}, and something on it raised {error!r}"
    if len(history.endings) != _ENDINGS:
        yield f"it failed with {cause!r}, and {len(history.endings)} of {_ENDINGS} were told"


_ENDINGS = 4
"""The stream, and three late uses of the connection."""


def _may_end(cause: BaseException) -> bool:
    """Whether docs/reliability.md says that this is final."""
    if isinstance(cause, ActorError):
        return cause.group in ("user", "auth")
    if isinstance(cause, ConnectError) and cause.status is not None:
        return cause.status < 500 and cause.status not in (408, 425, 429)
    return False


def _events(items: Iterable[Appended | Gap]) -> list[Appended]:
    return [item for item in items if not isinstance(item, Gap)]


def _count(changes: list[StatusChange], status: Status) -> int:
    """How often it came to be like this; an error that the actor reports changes nothing."""
    return sum(
        change.status is status and (status is not Status.CONNECTED or change.error is None)
        for change in changes
    )
