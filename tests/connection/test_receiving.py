"""Events that come in one read: each stream gets its own, in order, as many as it may have."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from rivet_anyio import (
    Client,
    Connection,
    ConnectionLostError,
    EventOverflowError,
    Gap,
    NamedEvent,
    ProtocolError,
)
from rivet_anyio._io.backend import current_backend
from rivet_anyio._io.waiting import Signal
from rivet_anyio._websocket.connection import WebSocketConnection
from rivet_anyio._websocket.framing import Close
from rivet_anyio._websocket.outbox import Outbox
from rivet_anyio._websocket.rfc6455 import RFC6455Framer
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.testing import Actor, ActorServer

from ..otel.test_unobserved import Silent
from ..peers.raw import INIT, Peer, frame, response, serving, text
from ..test_costs import Loopback

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
            await conn.action("call", *[("a", "x" * number) for number in range(COUNT)])
            for received in (a, both):
                for number in range(COUNT):
                    value = await received.receive()
                    assert value in ("x" * number, NamedEvent("a", "x" * number))
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


@encodings
async def test_an_observer_hears_of_no_event_that_no_stream_wants(encoding: Encoding) -> None:
    observer = Counting()
    async with connected(encoding, observer) as conn, conn.events("a", buffer_size=2) as stream:
        await conn.action("call", ("a", 0))
        assert await stream.receive() == 0
        await conn.action("call", *[("a", number) for number in range(COUNT)])
    # Two fit into the buffer, and with the third the stream ended.
    assert observer.names == ["a"] * 4


class Step:
    """A sink that takes some messages, and then does something.

    Attributes:
        offered: How many messages each call offered.
        socket: What reads.
    """

    socket: WebSocketConnection

    def __init__(self, *counts: int, then: Callable[[WebSocketConnection], None]) -> None:
        self.offered: list[int] = []
        self._counts = list(counts)
        self._then = then

    def take(self, messages: list[str | bytes]) -> int:
        self.offered.append(len(messages))
        if self._counts:
            return self._counts.pop(0)
        self._then(self.socket)
        return 1

    def is_full(self) -> bool:
        return False

    def notify_when_free(self, signal: Signal) -> None:
        raise AssertionError("it is never full")


async def read(sink: Step, messages: int) -> WebSocketConnection:
    stream = Loopback(frame(2, b"message") * messages + frame(8, b"\x03\xe8"))
    sink.socket = WebSocketConnection(
        stream,
        RFC6455Framer(1000),
        Outbox(),
        sink,
        current_backend(),
        ping_interval=None,
        ping_timeout=None,
    )
    began = sink.socket.last_message
    with anyio.fail_after(GUARD):
        while anyio.current_time() == began:
            await anyio.lowlevel.checkpoint()
        await sink.socket.run()
    return sink.socket


async def test_what_is_not_taken_with_others_is_offered_by_itself() -> None:
    """So messages that cannot be read together are not tried together again and again."""
    sink = Step(20, *[1] * 10, then=lambda _: None)
    socket = await read(sink, 50)
    assert sink.offered == [50, *[1] * 30]
    assert isinstance(socket.end, Close)


def fail(socket: WebSocketConnection) -> None:
    socket.fail(ConnectionLostError("no more"))


def refuse(_: WebSocketConnection) -> None:
    raise ProtocolError("no more")


@pytest.mark.parametrize("then", [fail, refuse, WebSocketConnection.drop])
async def test_nothing_is_offered_after_the_end(
    then: Callable[[WebSocketConnection], None],
) -> None:
    sink = Step(20, 1, then=then)
    socket = await read(sink, 50)
    assert sink.offered == [50, 1, 1]
    assert isinstance(socket.end, (ProtocolError, ConnectionLostError))
    # The messages before it count, when a gap begins.
    assert socket.last_message == socket.last_received


async def test_each_stream_raises_an_error_of_its_own() -> None:
    async def talk(peer: Peer) -> None:
        await peer.open()
        damaged = {"name": "e", "args": [["$BigInt", "no number"]]}
        while heard := await peer.heard():
            body = json.loads(heard[1])["body"]
            if body["tag"] == "ActionRequest":
                if body["val"]["name"] == "go":
                    await peer.send(text({"tag": "Event", "val": damaged}) * 2)
                await peer.send(response(body["val"]["id"], None))

    errors: list[ProtocolError] = []
    with anyio.fail_after(GUARD):
        async with (
            serving(talk) as url,
            Client(url, metadata_lookup=False, encoding="json") as client,
            client.room.get_for_id("a1").connect() as conn,
            conn.events("e") as one,
            conn.events("e") as other,
        ):
            await conn.action("go")
            for stream in (one, other, one, other):
                with pytest.raises(ProtocolError, match="BigInt") as caught:
                    await stream.receive()
                errors.append(caught.value)
    assert len({id(error) for error in errors}) == 4


@pytest.mark.parametrize("events", [1, 3])
async def test_a_gap_begins_after_what_came_with_the_news_of_it(events: int) -> None:
    """Events, and at once with them Init of an actor that was moved."""
    sent_at = math.inf

    async def talk(peer: Peer) -> None:
        nonlocal sent_at
        await peer.open()
        await peer.frame()  # the subscription
        sent_at = anyio.current_time()
        event = text({"tag": "Event", "val": {"name": "e", "args": ["before"]}})
        await peer.send(event * events + text(INIT))
        await peer.serve_actions()

    with anyio.fail_after(GUARD):
        async with (
            serving(talk) as url,
            Client(url, metadata_lookup=False, encoding="json") as client,
            client.room.get_for_id("a1").connect() as conn,
            conn.events("e", gaps="mark") as stream,
        ):
            assert [await stream.receive() for _ in range(events)] == ["before"] * events
            gap = await stream.receive()
    assert isinstance(gap, Gap) and sent_at <= gap.since <= gap.until
