"""What holds in every race of losses, whatever went wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from rivet_anyio import (
    ActorError,
    ClosedError,
    ConnectError,
    EventOverflowError,
    Gap,
    TransportError,
)
from rivet_anyio._gateway.repeats import may_repeat

from .race_record import Followed, Race, Seen

__all__ = ["wrong_of"]

_ROUNDING = 1e-6
_ON_ITS_WAY = 0.005
"""An event may have been sent so long before the gap in which it is missing."""
_UNFOUND_SECONDS = 90.0
"""From the beginning of a host's death until everybody knows of it."""
_SLOWEST_SECONDS = 350.0
"""Until the slowest reader has taken everything."""
_LONGEST_DELAY = 2.0
"""Of the attempts at a call, without ``Retry-After``."""
_REFUSED = ("shy", "secret")


def wrong_of(race: Race) -> list[str]:
    """What is wrong with a run, in words."""
    wrong = [f"{rule.__name__}: {words}" for rule in _OF_RACES for words in rule(race)]
    for one in (*race.seen, *race.sources):
        for check in _OF_EVENTS:
            wrong += [f"{check.__name__}: {words}, {_name(one)}" for words in check(race, one)]
    return wrong


def events_come_in_order(race: Race, one: Followed) -> Iterator[str]:
    """What comes was sent under that name, once, in this very order between all names."""
    board = race.boards[one.key]
    events = _events(one)
    for name, index in events:
        if board.sent[index][1] != name or name not in one.names:
            yield f"event {index} came as {name!r}"
    for (_, index), (_, later) in pairwise(events):
        if later <= index:
            yield f"event {later} came after {index}"


def gaps_do_not_overlap(race: Race, one: Followed) -> Iterator[str]:
    gaps = _gaps(one)
    for gap in gaps:
        if gap.since > gap.until:
            yield f"{gap} ends before it begins"
    for gap, later in pairwise(gaps):
        if later.since < gap.until:
            yield f"{later} begins in {gap}"


def missing_events_lie_in_gaps(race: Race, one: Followed) -> Iterator[str]:
    """By time. Those after the last thing that came are judged by `everybody_hears_at_the_end`."""
    if one.promised_at is None or (isinstance(one, Seen) and one.about.may_block):
        return
    sent = race.boards[one.key].sent
    have = {index for _, index in _events(one)}
    gaps = _gaps(one)
    is_counted = isinstance(one, Seen) and one.gaps == "ignore" and one.gap_count > 0
    last = max((sent[index][0] for index in have), default=0.0)
    last = max([last, *(gap.until for gap in gaps)])
    last = min(last, _known_until(race, one))
    missing = [
        (index, at)
        for index, (at, name) in enumerate(sent)
        if name in one.names
        and one.promised_at < at < last
        and index not in have
        and not any(gap.since - _ON_ITS_WAY - _ROUNDING <= at <= gap.until for gap in gaps)
    ]
    if len(missing) > one.dropped and not is_counted:
        yield f"{missing} are in none of {gaps}, and {one.dropped} were dropped"


def missing_events_have_a_gap_in_their_place(race: Race, one: Followed) -> Iterator[str]:
    """By order. Where an actor was started anew behind its gateway, the gap may come later."""
    if race.kills_at or one.dropped or one.promised_at is None:
        return
    if isinstance(one, Seen) and one.gaps == "ignore":
        return
    sent = race.boards[one.key].sent
    before: int | None = None
    has_gap = False
    for _, _, what in one.items:
        if isinstance(what, Gap):
            has_gap = True
            continue
        if before is not None and not has_gap:
            between = range(before + 1, what[0])
            hole = [i for i in between if sent[i][1] in one.names and sent[i][0] > one.promised_at]
            if hole:
                yield f"{hole} are missing before {what}, and no gap is there"
        before, has_gap = what[0], False


def drops_belong_to_policies(race: Race, one: Followed) -> Iterator[str]:
    if not isinstance(one, Seen):
        return
    if one.overflow == "block" and one.dropped:
        yield f"dropped {one.dropped}"
    if one.overflow == "raise" and one.dropped > 1:
        yield f"dropped {one.dropped}"
    left = one.left
    if one.overflow == "block":
        # Before its subscription is confirmed it takes more, rather than wait for itself.
        sent, since = race.boards[one.key].sent, one.promised_at or math.inf
        indexes = [index for _, index in _events(one)]
        left = sum(sent[index][0] > since for index in indexes[len(indexes) - left :])
    if left > one.size:
        yield f"had {left} at the end"


def gaps_are_counted_once(race: Race, one: Followed) -> Iterator[str]:
    """Each return of the connection is one gap of each stream that was open then."""
    if not isinstance(one, Seen) or one.ended_at is None:
        return
    if any(at in (one.opened_at, one.ended_at) for at in one.about.returns):
        return  # nobody knows which was first
    if not one.has_ended:
        returns = sum(one.opened_at < at < one.ended_at for at in one.about.returns)
        if one.gap_count != returns:
            yield f"counts {one.gap_count} gaps, and it came back {returns} times"
    told = len(_gaps(one))
    if told > (0 if one.gaps == "ignore" else one.gap_count):
        yield f"{told} gaps came, and {one.gap_count} were counted"


def only_refused_streams_end(race: Race, one: Followed) -> Iterator[str]:
    error = one.ended_by
    if error is None:
        return
    if isinstance(error, EventOverflowError):
        if not isinstance(one, Seen) or one.overflow != "raise" or one.dropped != 1:
            yield f"overflowed: {error!r}"
    elif not isinstance(error, ActorError) or not set(one.names) & set(_REFUSED):
        yield f"ended with {error!r}"
    elif race.version == "2.0":
        yield f"nothing is refused in 2.0: {error!r}"


def refused_events_never_come(race: Race, one: Followed) -> Iterator[str]:
    if race.version != "2.0" and any(name == "secret" for name, _ in _events(one)):
        yield "got what is refused"


def sources_begin_with_a_gap(race: Race, one: Followed) -> Iterator[str]:
    if isinstance(one, Seen) or one.dropped or not one.items:
        return
    if not isinstance(one.items[0][2], Gap):
        yield f"begins with {one.items[0]}"


def everybody_hears_at_the_end(race: Race, one: Followed) -> Iterator[str]:
    """When nothing has gone wrong for a while, everybody gets the last event.

    A neighbour's refused subscription still closes the connection then, which is a gap.
    """
    if one.ended_by is not None or one.dropped or one.ended_at is None:
        return
    until = one.ended_at - _SLOWEST_SECONDS
    since = one.promised_at or 0.0
    due = [
        index
        for index, (at, name) in enumerate(race.boards[one.key].sent)
        if name in one.names and max(since, race.calm_at) < at < until
    ]
    if not due or due[-1] in [index for _, index in _events(one)]:
        return
    at = race.boards[one.key].sent[due[-1]][0]
    if not any(gap.since <= at <= gap.until for gap in _gaps(one)):
        yield f"event {due[-1]} never came"


def live_states_are_true(race: Race) -> Iterator[str]:
    """A live state is one that the actor had, each later than the one before.

    Without numbers nobody sees what a host that dies has lost, until a check finds the death.
    """
    for copy in race.copies:
        digests = race.boards[copy.key].digests
        before = -1
        for at, shown in copy.shown:
            if copy.way == "atomic" and _is_unfound(race, at):
                continue
            if digests[shown[0] : shown[0] + 1] != [shown]:
                yield f"{copy.way}: {shown} at {at} never was"
            if shown[0] <= before:
                yield f"{copy.way}: {shown} at {at} came after {before}"
            before = shown[0]


def calls_end_in_time(race: Race) -> Iterator[str]:
    for call in race.calls:
        if call.ended_at is None:
            yield f"{call} never ended"
            continue
        took = call.ended_at - call.began_at
        if took > call.seconds + _ROUNDING:
            yield f"{call} took {took}"
        if call.is_answered and call.number not in race.put:
            yield f"{call} did not run"
        error = call.error
        if error is None or took >= call.seconds - _LONGEST_DELAY - _ROUNDING:
            continue
        if may_repeat(error) and not isinstance(error, ClosedError):
            yield f"{call} gave up after {took}"
        elif not isinstance(error, (ConnectError, TransportError, ActorError)):
            yield f"{call} raised {error!r}"


def params_are_asked_for_each_time(race: Race) -> Iterator[str]:
    """A handshake that found its socket closed is sent on another one. A gateway that moves
    connections to a new start of the actor does so with their params.
    """
    again = [one for one, count in Counter(race.params).items() if one is not None and count > 2]
    if again and not race.kills_at:
        yield f"{again} were used for several attempts"


def the_observer_sees_it_all(race: Race) -> Iterator[str]:
    """Live states have streams as well, and so have sources that were removed."""
    observed = race.observer.counts
    gaps = sum(one.gap_count for one in race.seen)
    dropped = sum(one.dropped for one in (*race.seen, *race.sources))
    returns = len({at for one in race.seen for at in one.about.returns})
    if observed["gaps"] < gaps or observed["dropped"] < dropped or observed["connected"] < returns:
        yield f"{observed}, but there were {gaps} gaps, {dropped} drops, {returns} returns"
    if observed["calls"] < len(race.calls):
        yield f"{observed}, but there were {len(race.calls)} calls"


def nothing_is_left(race: Race) -> Iterator[str]:
    if race.observer.open:
        yield f"{race.observer.open} calls or attempts did not end for the observer"
    if race.tasks_left:
        yield f"{race.tasks_left} tasks"


_OF_RACES = (
    live_states_are_true,
    calls_end_in_time,
    params_are_asked_for_each_time,
    the_observer_sees_it_all,
    nothing_is_left,
)
_OF_EVENTS = (
    events_come_in_order,
    gaps_do_not_overlap,
    missing_events_lie_in_gaps,
    missing_events_have_a_gap_in_their_place,
    drops_belong_to_policies,
    gaps_are_counted_once,
    only_refused_streams_end,
    refused_events_never_come,
    sources_begin_with_a_gap,
    everybody_hears_at_the_end,
)


def _known_until(race: Race, one: Followed) -> float:
    """Until when it was found that hosts died."""
    ended_at = math.inf if one.ended_at is None else one.ended_at
    recent = [at for at in race.kills_at if ended_at - _UNFOUND_SECONDS <= at <= ended_at]
    return min(recent) - _UNFOUND_SECONDS if recent else ended_at


def _is_unfound(race: Race, at: float) -> bool:
    return any(killed <= at <= killed + _UNFOUND_SECONDS for killed in race.kills_at)


def _events(one: Followed) -> list[tuple[str, int]]:
    return [(name, what[0]) for _, name, what in one.items if not isinstance(what, Gap)]


def _gaps(one: Followed) -> list[Gap]:
    return [what for _, _, what in one.items if isinstance(what, Gap)]


def _name(one: Followed) -> str:
    policies = (
        f", {one.overflow}, {one.gaps}, {one.size}, opened at {one.opened_at}"
        if isinstance(one, Seen)
        else ""
    )
    return (
        f"{type(one).__name__} of {one.key} {one.names}{policies}, promised at "
        f"{one.promised_at}, ended at {one.ended_at}"
    )
