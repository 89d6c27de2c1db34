"""Events that come in one read: each stream gets its own, in order, as many as it may have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from rivet_anyio import Connection, EventOverflowError, NamedEvent
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.testing import Actor, ActorServer

from ..otel.test_unobserved import Silent

GUARD = 60
COUNT = 50


class Caller(Actor):
    async def call(self, *events: tuple[str, Any]) -> int:
        for name, value in events:
            self.context.broadcast(name, value)
        return len(events)


@asynccontextmanager
async def connected(
    encoding: Encoding, observer: Silent | None = None
) -> AsyncIterator[Connection]:
    with anyio.fail_after(GUARD):
        async with (
            ActorServer({"caller": Caller}) as server,
            server.client(encoding=encoding, observer=observer) as client,
            client.caller.get_or_create("a").connect() as conn,
        ):
            yield conn


encodings = pytest.mark.parametrize("encoding", ["bare", "cbor", "json"])


@encodings
async def test_a_stream_that_blocks_gets_one_event_more_than_it_holds(encoding: Encoding) -> None:
    async with (
        connected(encoding) as conn,
        conn.events("a", buffer_size=4, overflow="block") as stream,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(2):  # the second time, the beginning of the messages is known
            tasks.start_soon(conn.action, "call", *[("a", number) for number in range(COUNT)])
            for number in range(COUNT):
                assert await stream.receive() == number
                assert stream.buffered <= 4
        assert stream._buffer.byte_count == stream._buffer.event_count == 0


@encodings
async def test_events_of_two_names(encoding: Encoding) -> None:
    async with (
        connected(encoding) as conn,
        conn.events("a") as a,
        conn.events("b") as b,
        conn.events(("a", "b")) as both,
    ):
        for _ in range(2):
            sent = [("a" if number % 3 else "b", number) for number in range(COUNT)]
            await conn.action("call", *sent, ("nobody asks for this", 0))
            assert [await a.receive() for _ in range(a.buffered)] == [
                n for n in range(COUNT) if n % 3
            ]
            assert [await b.receive() for _ in range(b.buffered)] == list(range(0, COUNT, 3))
            got = [await both.receive() for _ in range(both.buffered)]
            assert got == [NamedEvent(name, value) for name, value in sent]
            for stream in (a, b, both):
                assert stream._buffer.byte_count == stream._buffer.event_count == 0


@encodings
async def test_a_stream_that_overflows_takes_nothing_from_others(encoding: Encoding) -> None:
    async with connected(encoding) as conn, conn.events("a") as large, conn.events("b") as other:
        for _ in range(2):
            async with conn.events("a", buffer_size=4) as small:
                await conn.action("call", *[("a", n) for n in range(COUNT)], ("b", "b"), ("a", "a"))
                assert [await small.receive() for _ in range(4)] == [0, 1, 2, 3]
                with pytest.raises(EventOverflowError):
                    await small.receive()
            assert [await large.receive() for _ in range(large.buffered)] == [*range(COUNT), "a"]
            assert await other.receive() == "b"
            assert large._buffer.byte_count == large._buffer.event_count == 0
        # The only stream of its name, which leaves while events of that name are handed out.
        async with conn.events("c", buffer_size=4) as only:
            await conn.action("call", ("c", 0))
            await conn.action("call", *[("c", n) for n in range(COUNT)], ("b", 1), ("c", 2))
            assert [await only.receive() for _ in range(4)] == [0, 0, 1, 2]
            with pytest.raises(EventOverflowError):
                await only.receive()
        assert await other.receive() == 1


class Counting(Silent):
    """Notes the names of events."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def event(self, name: str) -> None:
        self.names.append(name)


@encodings
async def test_an_observer_hears_of_each(encoding: Encoding) -> None:
    observer = Counting()
    sent = [("a" if number % 3 else "b", number) for number in range(COUNT)]
    async with connected(encoding, observer) as conn, conn.events("a"), conn.events(("a", "b")):
        await conn.action("call", *sent, ("c", 0))
        await conn.action("call", *[("a", number) for number in range(COUNT)])
    assert observer.names == [name for name, _ in sent] + ["a"] * COUNT
