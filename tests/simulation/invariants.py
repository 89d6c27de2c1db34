"""What holds in every run, whatever went wrong.

Each invariant takes a run and tells, in words, what is wrong with it. A client cannot know whether
anything was sent while it was away, so what is promised of gaps is two things: whatever was missed
lies in a gap, and whatever is told as a gap was an absence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from rivet_anyio import ActorError, ConnectError, EventOverflowError, Gap, RivetError, Status
from tests.faults.accounting import Appended, violations, was_restarted

from .told import Consumer, Run, Visit

__all__ = ["INVARIANTS", "broken"]

Invariant = Callable[[Run], Iterator[str]]

_ROUNDING = 1e-6
_WHILE_DESTROYED = 3
"""How many actions one program may call while it is being destroyed."""
_FIRST_DELAY = 0.25
"""`Retry.initial`: the model draws every delay from its upper half."""
_SPREAD = 4 * _FIRST_DELAY
"""How long after another connection reached the server a delay that ends early goes on at most."""
_RESTART_SECONDS = 1.0
"""How much longer the delay may be after a close frame that says that the server restarts."""


def broken(run: Run) -> list[str]:
    """Every invariant that does not hold, in words."""
    return [f"{rule.__name__}: {words}" for rule in INVARIANTS for words in rule(run)]


def promises_are_kept(run: Run) -> Iterator[str]:
    """What docs/reliability.md promises of actions, events, gaps and states, by the judge of the
    tests with faults: an action that returned ran once, one that was lost ran once at most, one
    that was never sent did not run; each missing event has its gap in its very place; and so on.
    """
    histories = [visit.history for visit in run.visits]
    yield from violations(run.store.numbers, histories, in_order=run.in_order, elsewhere=run.posted)


def events_come_in_order_and_once(run: Run) -> Iterator[str]:
    """No stream delivers an event after a later one, or again."""
    for consumer in _consumers(run):
        for (_, seq), (_, later) in pairwise(_events(consumer)):
            if later <= seq:
                yield f"{_name(consumer)}: event {later} came after {seq}"


def events_are_true(run: Run) -> Iterator[str]:
    """Every event that is delivered was sent, with these very contents."""
    for consumer in _consumers(run):
        for number, seq in _events(consumer):
            if run.store.numbers[seq - 1 : seq] != [number]:
                yield f"{_name(consumer)}: event {(number, seq)} was never sent"


def every_missed_event_lies_in_a_gap(run: Run) -> Iterator[str]:
    """Where a stream skips events, it tells a gap, or counts a gap or what it dropped.

    A stream may begin with events from before it was opened, which were on their way to another
    one of its name that was closed; of those, any may be missing.
    """
    for consumer in _consumers(run):
        told = consumer.gap_count > 0 if consumer.gaps == "ignore" else False
        before: int | None = None
        for item in consumer.items:
            if isinstance(item, Gap):
                told = True
                continue
            missing = range(before, item[1] - 1) if before is not None else range(0)
            is_hole = any(run.store.times[index] > consumer.opened_at for index in missing)
            if is_hole and not told and not consumer.dropped:
                yield f"{_name(consumer)}: nothing told what is missing before {item}"
            before = item[1]
            told = consumer.gaps == "ignore" and consumer.gap_count > 0


def every_gap_is_an_absence(run: Run) -> Iterator[str]:
    """A gap ends when the connection was back, and the connection was away in it; each return
    lies at the end of a gap, or inside of one that tells of several.
    """
    for visit in run.visits:
        returns = _absences(visit)
        for gap in _gaps(visit.history.items):
            if not any(gap.until == back for _, back in returns):
                yield f"{gap} ends when nothing came back"
            if not any(gap.since <= lost and back <= gap.until for lost, back in returns):
                yield f"the connection was never away in {gap}"
        for lost, back in returns:
            if not any(g.since <= lost and back <= g.until for g in _gaps(visit.history.items)):
                yield f"no gap tells that it was away from {lost} to {back}"


def every_stream_tells_every_absence(run: Run) -> Iterator[str]:
    """A stream that was read to its end told of each return, whatever it had to drop.

    One that overflowed has ended, also where nobody took the error.
    """
    for visit in run.visits:
        for consumer in visit.consumers:
            has_overflowed = consumer.overflow == "raise" and consumer.dropped
            if consumer.gaps == "ignore" or consumer.unread or has_overflowed:
                continue
            if consumer.ended_by is not None:
                continue
            for lost, back in _absences(visit):
                since = max(lost, consumer.opened_at)
                if consumer.opened_at < back < consumer.ended_at and not any(
                    gap.since <= since and back <= gap.until for gap in _gaps(consumer.items)
                ):
                    yield f"{_name(consumer)}: nothing told of {lost} to {back}"


def every_stream_counts_its_gaps(run: Run) -> Iterator[str]:
    """Each stream tells of no more gaps than it counts, and none where it ignores them."""
    for consumer in _consumers(run):
        told = len(_gaps(consumer.items))
        if told > (0 if consumer.gaps == "ignore" else consumer.gap_count):
            yield f"{_name(consumer)}: {told} gaps told, {consumer.gap_count} counted"


def missed_events_were_sent_in_their_gap(run: Run) -> Iterator[str]:
    """Where bytes take no time, an event that was missed was sent between a gap's `since` and
    `until`.
    """
    if not run.is_prompt:
        return
    for visit in run.visits:
        gaps = _gaps(visit.history.items)
        seen = [item[1] for item in visit.history.items if not isinstance(item, Gap)]
        for seq, later in pairwise(seen):
            for missed in range(seq + 1, later):
                at = run.store.times[missed - 1]
                if not any(g.since - _ROUNDING <= at <= g.until + _ROUNDING for g in gaps):
                    yield f"event {missed} was sent at {at}, in none of {gaps}"


def every_drop_is_counted(run: Run) -> Iterator[str]:
    """A stream beside an unbounded one of the same name: what it delivered, what it still held
    and what it counts as dropped is all that came, and only the policies that drop have holes.

    Where the actor was started anew behind its gateway, what came in that gap may be missing in it.
    """
    for visit in run.visits:
        if was_restarted(visit.history.changes):
            continue
        first = [item for item in visit.history.items if not isinstance(item, Gap)]
        for consumer in visit.consumers:
            if consumer.name != "appended":
                continue
            came, got = first[consumer.begin : consumer.end], _events(consumer)
            is_over = consumer.overflow == "raise" and consumer.dropped == 1
            if isinstance(consumer.ended_by, EventOverflowError) and not is_over:
                yield f"{_name(consumer)}: overflowed, and counts {consumer.dropped}"
            if not is_over and len(got) + consumer.left + consumer.dropped != len(came):
                yield (
                    f"{_name(consumer)}: {len(got)} taken, {consumer.left} held and "
                    f"{consumer.dropped} dropped of {len(came)}"
                )
            drops = consumer.overflow in ("drop_oldest", "drop_newest")
            if consumer.dropped and not drops and not is_over:
                yield f"{_name(consumer)}: dropped {consumer.dropped}"
            if not drops and got != came[: len(got)]:
                yield f"{_name(consumer)}: took {got} of {came}"
            if not set(got) <= set(came):
                yield f"{_name(consumer)}: took {got}, which is not among {came}"


def subscriptions_go_before_calls(run: Run) -> Iterator[str]:
    """A stream that was open from before a call until after its answer has the call's event.

    Where the actor was started anew behind its gateway, that may lie in a gap.
    """
    for visit in run.visits:
        if was_restarted(visit.history.changes):
            continue
        for consumer in visit.consumers:
            if consumer.dropped or consumer.left or consumer.ended_by is not None:
                continue
            got = {seq for _, seq in _events(consumer)}
            last = max(got, default=0)
            for call in visit.history.calls[consumer.first_call : consumer.last_call]:
                if call.seq is not None and call.seq not in got and call.seq <= last:
                    yield f"{_name(consumer)}: the event of {call} never came"


def buffers_stay_within_bounds(run: Run) -> Iterator[str]:
    """No stream holds more events than `buffer_size`, with a gap before, between and after."""
    for consumer in _consumers(run):
        if consumer.most > 2 * consumer.size + 1 or consumer.left > consumer.size:
            yield f"{_name(consumer)}: held {consumer.most}, at the end {consumer.left}"


def live_states_are_true(run: Run) -> Iterator[str]:
    """A live state is one that the actor had, each later than the one before; and where nothing
    is under way, it is the actor's.
    """
    for visit in run.visits:
        for mirror in visit.mirrors:
            before = -1
            for digest in mirror.shown:
                if run.store.digests[digest[0] : digest[0] + 1] != [digest]:
                    yield f"a live state ({mirror.name}) shows {digest}, which never was"
                if digest[0] <= before:
                    yield f"a live state ({mirror.name}) shows {digest} after {before}"
                before = digest[0]
            if mirror.is_behind:
                yield f"a live state ({mirror.name}) stays behind at {before}"
            if mirror.wrong:
                yield f"a live state ({mirror.name}) called itself current, and was not"


def every_stream_hears_of_calls(run: Run) -> Iterator[str]:
    """A stream that was open before a call gets its event before the answer, or tells a gap."""
    for visit in run.visits:
        yield from visit.deaf


def nothing_is_kept_of_calls(run: Run) -> Iterator[str]:
    """A connection keeps no call for which nobody waits."""
    for visit in run.visits:
        yield from visit.kept


def delays_are_bounded(run: Run) -> Iterator[str]:
    """The next attempt begins in time, but not at once: the delays double up to the longest.

    A delay may end early, soon after another connection of the client has reached the server.
    """
    for visit in run.visits:
        failures = 0
        for (since, before), (until, change) in pairwise(visit.states):
            if before.status is not Status.DISCONNECTED or change.status is not Status.CONNECTING:
                continue
            if not isinstance(before.error, ConnectError):  # it was open, or refused
                failures = 0
            doublings = min(failures, 100)  # by then it is the longest
            least = min(_FIRST_DELAY * 2.0**doublings, visit.longest_delay) / 2
            most = visit.longest_delay + _RESTART_SECONDS
            failures += 1
            if any(since <= at <= until <= at + _SPREAD + _ROUNDING for at in run.reached):
                continue
            if not least - _ROUNDING <= until - since <= most + _ROUNDING:
                yield f"after {failures} failures {until - since} s, not {least} to {most} s"


def delays_are_drawn(run: Run) -> Iterator[str]:
    """Delays have jitter: by chance, none is as long as its bound, or as a server asked for."""
    whole = 0
    for visit in run.visits:
        bounds = [min(_FIRST_DELAY * 2.0**n, visit.longest_delay) for n in range(12)]
        for (since, before), (until, change) in pairwise(visit.states):
            if before.status is Status.DISCONNECTED and change.status is Status.CONNECTING:
                asked = isinstance(before.error, RivetError) and before.error.retry_after
                is_bound = any(abs(until - since - bound) < _ROUNDING for bound in bounds)
                whole += is_bound and not asked
    if whole > 2:
        yield f"{whole} delays are as long as they can be"


def an_actor_that_is_gone_is_created_anew(run: Run) -> Iterator[str]:
    """Who gets or creates an actor meets that there is none while it is destroyed, at most."""
    gone = 0
    for call in run.posted:
        error = call.error
        gone = gone + 1 if isinstance(error, ActorError) and error.code == "not_found" else 0
        if gone > _WHILE_DESTROYED:
            yield f"{gone} actions in a row met {error}"


def exits_are_in_time(run: Run) -> Iterator[str]:
    """Leaving a block takes `close_timeout` at most, and a second after a cancellation."""
    for visit in run.visits:
        if visit.exit is None:
            yield "a block was never left"
        elif visit.exit.took > visit.exit.allowed + _ROUNDING:
            yield f"it took {visit.exit.took} s, and {visit.exit.allowed} s were allowed"


def nothing_is_left(run: Run) -> Iterator[str]:
    """No task outlives the blocks."""
    if run.tasks_left:
        yield f"{run.tasks_left} tasks"


INVARIANTS: list[Invariant] = [
    promises_are_kept,
    events_come_in_order_and_once,
    events_are_true,
    every_missed_event_lies_in_a_gap,
    every_gap_is_an_absence,
    every_stream_tells_every_absence,
    every_stream_counts_its_gaps,
    missed_events_were_sent_in_their_gap,
    every_drop_is_counted,
    subscriptions_go_before_calls,
    buffers_stay_within_bounds,
    every_stream_hears_of_calls,
    nothing_is_kept_of_calls,
    delays_are_bounded,
    delays_are_drawn,
    an_actor_that_is_gone_is_created_anew,
    live_states_are_true,
    exits_are_in_time,
    nothing_is_left,
]


def _consumers(run: Run) -> Iterator[Consumer]:
    for visit in run.visits:
        yield from visit.consumers


def _events(consumer: Consumer) -> list[Appended]:
    return [item for item in consumer.items if not isinstance(item, Gap)]


def _gaps(items: list[Appended | Gap]) -> list[Gap]:
    return [item for item in items if isinstance(item, Gap)]


def _name(consumer: Consumer) -> str:
    return (
        f"a stream of {consumer.name!r} with overflow={consumer.overflow!r}, "
        f"gaps={consumer.gaps!r}, buffer_size={consumer.size}"
    )


def _absences(visit: Visit) -> list[tuple[float, float]]:
    """From when to when the connection was away, of those times that it came back.

    Where it stayed, and the actor was started anew behind it, it was away as well.
    """
    found: list[tuple[float, float]] = []
    lost: float | None = None
    for at, change in visit.states:
        if change.status in (Status.DISCONNECTED, Status.CONNECTING) and lost is None:
            lost = at
        elif change.status is Status.CONNECTED and lost is not None:
            found.append((lost, at))
            lost = None
    return found
