"""The table through the pump and the raw WebSocket, from httpx up, on a server in memory."""

from __future__ import annotations

import anyio
import httpx
import pytest

from rivet_anyio import Client, ConnectionLostError, ProtocolError
from rivet_anyio.transport._framing import Close

from ..peers.conftest import no_tasks_left
from .case import Case, Outcome, Violation
from .framers import SHIPPED
from .memory import MemoryServer
from .playing import WAYS, check_client_frames, final_end, script
from .table import CASES

__all__ = ["no_tasks_left"]

GUARD = 10
"""Seconds after which a case has hung."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_case(case: Case) -> None:
    for way in WAYS:
        with anyio.fail_after(GUARD):
            await play(SHIPPED.expected(case), way)


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
