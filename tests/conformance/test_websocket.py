"""The table through the pump and the raw WebSocket, from httpx up, on a server in memory."""

from __future__ import annotations

from dataclasses import replace

import anyio
import httpx
import pytest
from hypothesis import given, settings

from rivet_anyio import Client, ConnectionLostError, ProtocolError
from rivet_anyio._websocket.framing import Close, Frame, FramingError

from ..peers.conftest import no_tasks_left
from .case import OPEN, Case, Outcome, Violation
from .framers import SHIPPED, frames_of
from .memory import MemoryServer, pongs
from .playing import WAYS, check_client_frames, final_end, script
from .streams import streams
from .table import CASES
from .wire import Sent

__all__ = ["no_tasks_left"]

GUARD = 60
"""Seconds after which a case has hung."""

LIMIT = 300


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_case(case: Case) -> None:
    for way in WAYS:
        with anyio.fail_after(GUARD):
            await play(SHIPPED.expected(case), way)


@settings(max_examples=50, deadline=None)
@given(sent=streams())
async def test_any_stream_of_frames(sent: list[Sent]) -> None:
    """The framer has been held to the table: what it makes of the frames is what comes out."""
    case = Case("any", tuple(sent), *read(sent), limit=LIMIT)
    if isinstance(case.end, Violation) and case.end.code in (1007, 1009):
        # Of two faults in one frame, the one that is met first is told.
        case = replace(case, also=Violation(1007 + 1009 - case.end.code))
    for way in WAYS:
        with anyio.fail_after(GUARD):
            await play(case, way)


def read(sent: list[Sent]) -> Outcome:
    """What the framer makes of these frames, byte by byte: the most that can come out."""
    framer = SHIPPED.make(LIMIT)
    got: list[Frame] = []
    for byte in b"".join(frame.wire for frame in sent):
        try:
            for frame in frames_of(framer, bytes((byte,))):
                if isinstance(frame, Close):
                    return Outcome(tuple(got), frame)
                got.append(frame)
        except FramingError as error:
            return Outcome(tuple(got), Violation(int(error.close_code)))
    return Outcome(tuple(got), OPEN)


async def test_of_the_pings_that_are_pending_the_last_is_answered() -> None:
    (case,) = (case for case in CASES if case.name == "ten pings at once")
    server = MemoryServer(script(case, "whole"))
    async with (
        httpx.AsyncClient(transport=server) as http,
        Client("http://memory", http=http, metadata_lookup=False) as client,
        client.actor("a").get_for_id("x").websocket("") as socket,
    ):
        with anyio.fail_after(GUARD), pytest.raises(anyio.EndOfStream):
            await socket.receive()
    assert pongs(server.streams[0].finish()) == [b"9"]


async def play(case: Case, way: str) -> None:
    server = MemoryServer(script(case, way))
    async with (
        httpx.AsyncClient(transport=server) as http,
        Client(
            "http://memory", http=http, metadata_lookup=False, max_message_size=case.limit
        ) as client,
        client.actor("a").get_for_id("x").websocket("") as socket,
    ):
        messages: list[str | bytes] = []
        with pytest.raises((anyio.EndOfStream, ConnectionLostError, ProtocolError)) as caught:
            while True:
                messages.append(await socket.receive())
        with pytest.raises(type(caught.value)):
            await socket.receive()
        with pytest.raises((ConnectionLostError, ProtocolError)):
            await socket.send("too late")
        found = (messages, raised(caught.value, socket.close_code, socket.close_reason))
    (stream,) = server.streams
    outcome = chosen(case, found)
    check_client_frames(case, outcome.end, stream.finish(), way)


def raised(error: BaseException, code: int | None, reason: str) -> Close | type[Violation] | None:
    """What the user learns of the end: the close frame, a violation, or nothing."""
    if isinstance(error, ProtocolError):
        return Violation
    if isinstance(error, anyio.EndOfStream):
        assert code in (1000, 1001, None)
        return Close(code or 1005, reason)
    assert isinstance(error, ConnectionLostError)
    assert (error.code, error.reason) == (code, reason)
    return None if code is None else Close(code, reason)


def chosen(case: Case, found: tuple[list[str | bytes], Close | type[Violation] | None]) -> Outcome:
    """The one of the outcomes that are allowed that this is."""
    for outcome in case.allowed:
        messages = [frame for frame in outcome.got if isinstance(frame, (str, bytes))]
        end = final_end(outcome.end)
        if found == (messages, Violation if isinstance(end, Violation) else end):
            return outcome
    raise AssertionError(f"{found!r:.500} is none of {case.allowed!r:.500}")
