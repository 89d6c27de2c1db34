"""What the records of two checks say of an actor's start: the whole table."""

from __future__ import annotations

import datetime as dt

import pytest

from rivet_anyio.protocol.management import ActorInfo
from rivet_anyio.protocol.starts import Change, Start, StartState, change_between, start_of

AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LATER = AT + dt.timedelta(milliseconds=1)
LOST = {"envoy_connection_lost": {"envoy_key": "e"}}

A, B = Start(StartState.RUNNING, AT), Start(StartState.RUNNING, LATER)
ASLEEP, DEAD, UNKNOWN = (
    Start(state) for state in (StartState.ASLEEP, StartState.DEAD, StartState.UNKNOWN)
)


def record(**fields: object) -> ActorInfo:
    return ActorInfo("id", "name", (), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("actor", "start"),
    [
        (None, UNKNOWN),
        (record(), UNKNOWN),
        (record(created_at=AT, started_at=AT, pending_since=AT, reschedule_at=AT), UNKNOWN),
        (record(connectable_since=AT), A),
        (record(connectable_since=AT, sleeping_since=LATER), A),
        (record(connectable_since=AT, error=LOST), A),
        (record(sleeping_since=AT), ASLEEP),
        (record(sleeping_since=AT, error=LOST), DEAD),
        (record(error=LOST), DEAD),
        (record(error="no_envoys"), DEAD),
        (record(destroyed_at=AT, error=LOST), UNKNOWN),
        (record(destroyed_at=AT, connectable_since=AT), UNKNOWN),
    ],
)
def test_what_a_record_says(actor: ActorInfo | None, start: Start) -> None:
    assert start_of(actor) == start


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        *((before, DEAD, Change.DEATH) for before in (None, A, ASLEEP)),
        (A, A, Change.NONE),
        (A, B, Change.RESTART),
        (B, A, Change.RESTART),
        (A, ASLEEP, Change.NONE),
        (A, UNKNOWN, Change.NONE),
        *((before, now, Change.NONE) for before in (None, ASLEEP) for now in (A, ASLEEP, UNKNOWN)),
    ],
)
def test_what_happened_between_two_checks(before: Start | None, now: Start, change: Change) -> None:
    assert change_between(before, now) is change
