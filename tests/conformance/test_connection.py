"""The table through a connection to an actor, which comes back after every end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import aclosing

import anyio
import httpx
import pytest

from rivet_anyio import Client, Connection, ConnectionLostError, ProtocolError, Retry, Status
from rivet_anyio._websocket.framing import Close

from ..peers.conftest import no_tasks_left
from .case import Case, Outcome, Violation
from .events import EVENT, argument, as_events, event, message
from .framers import SHIPPED
from .memory import MemoryServer, Step
from .playing import WAYS, check_client_frames, final_end, script
from .table import CASES
from .wire import Said

__all__ = ["no_tasks_left"]

GUARD = 60
"""Seconds after which a case has hung."""

SOON = Retry(initial=0.0001, maximum=0.0001)
BACK = "the connection is back"


# One way each: `test_websocket` plays every case in every way, over the same framer.
@pytest.mark.parametrize(
    "case, way",
    [pytest.param(case, way, id=case.name) for case, way in zip(CASES, itertools.cycle(WAYS))],
)
async def test_case(case: Case, way: str) -> None:
    with anyio.fail_after(GUARD):
        await play(as_events(SHIPPED.expected(case)), way)


async def play(case: Case, way: str) -> None:
    server = MemoryServer(first_session(case, way), second_session())
    lost: list[ConnectionLostError] = []
    told: list[str] = []
    async with (
        httpx.AsyncClient(transport=server) as http,
        Client(
            "http://memory",
            http=http,
            metadata_lookup=False,
            encoding="json",
            retry=SOON,
            max_message_size=case.limit,
        ) as client,
        client.actor("a").get_for_id("x").connect() as connection,
        aclosing(connection.events(EVENT)) as events,
        anyio.create_task_group() as tasks,
    ):
        changes = connection.status_changes()
        tasks.start_soon(never_answered, connection, lost)
        async for value in events:
            told.append(value)
            if value == BACK:
                break
        states = [await changes.receive() for _ in range(4)]
    assert [change.status for change in states] == [
        Status.CONNECTED,
        Status.DISCONNECTED,
        Status.CONNECTING,
        Status.CONNECTED,
    ]
    outcome = chosen(case, told, states[1].error)
    assert [loss.__cause__ for loss in lost] == [states[1].error]
    first, second = server.streams
    subscription, action, *frames = first.finish()
    assert b"SubscriptionRequest" in subscription.payload and b"never" in action.payload
    check_client_frames(case, outcome.end, frames, way)
    *_, last = second.finish()
    assert (last.opcode, last.code) == (8, 1000)


def first_session(case: Case, way: str) -> Iterator[Step]:
    yield message("Init", actorId="x", connectionId="c1")
    yield has_asked_twice
    yield event("before")
    yield from script(case, way)


def second_session() -> Iterator[Step]:
    yield message("Init", actorId="x", connectionId="c2")
    yield answer_to_action
    yield event(BACK)
    yield has_closed


def answer_to_action(frames: Sequence[Said]) -> bytes:
    """The answer to the action by which the connection confirms its subscription."""
    for frame in frames[1:]:
        asked = json.loads(frame.payload)["body"]["val"]
        return message("ActionResponse", id=asked["id"], output=None)
    return b""


def has_asked_twice(frames: Sequence[Said]) -> bool:
    return len(frames) >= 2


def has_closed(frames: Sequence[Said]) -> bool:
    return frames[-1].opcode == 8


async def never_answered(connection: Connection, lost: list[ConnectionLostError]) -> None:
    """An action that is under way when the end comes."""
    with pytest.raises(ConnectionLostError) as caught:
        await connection.action("never")
    lost.append(caught.value)


def chosen(case: Case, told: list[str], cause: BaseException | None) -> Outcome:
    """The one of the outcomes that are allowed that this is."""
    for outcome in case.allowed:
        said = [argument(frame) for frame in outcome.got if isinstance(frame, (str, bytes))]
        if told == ["before", *said, BACK] and is_cause(cause, final_end(outcome.end)):
            return outcome
    raise AssertionError(f"{told!r:.500} and {cause!r} are none of {case.allowed!r:.500}")


def is_cause(cause: BaseException | None, end: Close | Violation | None) -> bool:
    if isinstance(end, Violation):
        return isinstance(cause, ProtocolError)
    if not isinstance(cause, ConnectionLostError):
        return False
    code = end.code if end is not None and end.code != 1005 else None
    return (cause.code, cause.reason) == (code, end.reason if end is not None else "")
