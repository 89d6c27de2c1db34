"""Attempts to connect, and what a connection counts."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind

from rivet_anyio import ActorError, Client, ConnectionLostError, EventOverflowError, Gap, Retry
from tests.peers.raw import Peer, play_along, response, serving, text
from tests.servers import Server

from .recording import (
    FAILED,
    UNSET,
    Recording,
    attributes,
    client,
    id_of,
    in_header,
    parent_of,
    parsed_head,
    status,
)

GUARD = 60

ATTEMPT = {
    "rivet.actor.name": "room",
    "network.protocol.name": "websocket",
    "rivet.connection.attempt": 1,
    "rivet.connection.reconnect": False,
}


def event(name: str, value: Any) -> bytes:
    return text({"tag": "Event", "val": {"name": name, "args": [value]}})


# Attempts


async def test_the_first_attempt(recording: Recording) -> None:
    with anyio.fail_after(GUARD):
        async with serving(play_along) as url, client(url, recording) as one:
            with recording.tracer.start_as_current_span("program") as program:
                async with one.room.get_for_id("a1").connect() as conn:
                    span = recording.span()
                    assert trace.get_current_span() is program
                    await conn.go()
                assert trace.get_current_span() is program
    assert (span.name, span.kind) == ("connect room", SpanKind.CLIENT)
    assert parent_of(span) == id_of(program)
    assert attributes(span) == ATTEMPT
    assert status(span) == UNSET
    assert len(recording.spans("connect room")) == 1
    assert recording.value("rivet.client.connection.attempt.duration") == 1
    assert recording.values("rivet.client.connection.reconnects") == []


async def test_attempts_after_a_loss(recording: Recording) -> None:
    async def handler(peer: Peer) -> None:
        if peer.number == 1:
            await peer.open()
            await peer.action()
        elif peer.number <= 3:
            await peer.head()
        else:
            await peer.open()
            await peer.serve_actions()

    seen: list[tuple[int, Any]] = []

    async def get_params() -> Any:
        # What the program's own code does in the background belongs to the attempt.
        seen.append((id_of(trace.get_current_span()), baggage.get_baggage("tenant")))

    between: list[dict[str, Any]] = []

    async def sleep(seconds: float) -> None:
        between.append(dict(context.get_current()))
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            client(url, recording, retry=Retry(sleep=sleep)) as one,
        ):
            token = context.attach(baggage.set_baggage("tenant", "t1"))
            with recording.tracer.start_as_current_span("program") as program:
                async with one.room.get_for_id("a1").connect(get_params=get_params) as conn:
                    with pytest.raises(ConnectionLostError):
                        await conn.cut()
                    await conn.go()
            context.detach(token)
    assert between == [{}, {}, {}]
    attempts = recording.spans("connect room")
    assert [id_of(span) for span in attempts] == [span for span, _ in seen]
    assert [tenant for _, tenant in seen] == ["t1", None, None, None]
    assert [parent_of(span) for span in attempts] == [id_of(program), None, None, None]
    assert [[link.context for link in span.links] for span in attempts] == [
        [],
        *[[program.get_span_context()]] * 3,
    ]
    assert [
        (
            attributes(span)["rivet.connection.attempt"],
            attributes(span)["rivet.connection.reconnect"],
            attributes(span).get("error.type"),
            status(span),
        )
        for span in attempts
    ] == [
        (1, False, None, UNSET),
        (1, True, "ConnectError", FAILED),
        (2, True, "ConnectError", FAILED),
        (3, True, None, UNSET),
    ]
    assert recording.value("rivet.client.connection.reconnects") == 1
    assert recording.value("rivet.client.connection.attempt.duration") == 4


async def test_a_refusal(recording: Recording, server: Server) -> None:
    async with Client(server.endpoint, observer=recording.observer) as client:
        with pytest.raises(ActorError):
            async with client.guarded.get_or_create("otel").connect(params={"token": "wrong"}):
                raise AssertionError("not refused")
    span = recording.span()
    assert span.name == "connect guarded"
    assert status(span) == FAILED
    assert attributes(span)["error.type"] == "user.forbidden"


async def test_the_programs_own_error(recording: Recording) -> None:
    async def get_params() -> Any:
        raise KeyError("secret")

    async with client("http://127.0.0.1:1", recording) as one:
        with pytest.raises(KeyError):
            async with one.room.get_for_id("a1").connect(get_params=get_params):
                raise AssertionError("no params, no connection")
    assert attributes(recording.span()) == {**ATTEMPT, "error.type": "KeyError"}


async def test_cancellation(recording: Recording) -> None:
    async def handler(peer: Peer) -> None:
        await peer.upgrade()
        scope.cancel()
        await peer.silence()

    with anyio.fail_after(GUARD):
        async with serving(handler) as url, client(url, recording) as one:
            with anyio.CancelScope() as scope:
                async with one.room.get_for_id("a1").connect():
                    raise AssertionError("Init never came")
    assert scope.cancelled_caught
    assert attributes(recording.span()) == {**ATTEMPT, "rivet.cancelled": True}
    assert status(recording.span()) == UNSET


async def test_raw_websockets(recording: Recording) -> None:
    heads: list[dict[str, str]] = []

    async def handler(peer: Peer) -> None:
        head = await peer.head()
        heads.append(parsed_head(head))
        if peer.number == 1:
            await peer.send(peer.accept(head))
            await peer.silence()

    with anyio.fail_after(GUARD):
        async with serving(handler) as url, client(url, recording, close_timeout=0.1) as one:
            room = one.room.get_for_id("a1")
            with recording.tracer.start_as_current_span("program") as program:
                async with room.websocket():
                    assert trace.get_current_span() is program
                with pytest.raises(Exception, match="handshake broke"):
                    async with room.websocket():
                        raise AssertionError("it was not answered")
    spans = recording.spans()
    assert [parent_of(span) for span in spans] == [id_of(program)] * 2
    assert [attributes(span).get("error.type") for span in spans] == [None, "ConnectError"]
    assert [in_header(head)[1] for head in heads] == [id_of(span) for span in spans]


async def test_raw_websockets_without_params(recording: Recording) -> None:
    async def get_params() -> Any:
        raise LookupError

    with anyio.fail_after(GUARD):
        async with serving(play_along) as url, client(url, recording) as one:
            room = one.room.get_for_id("a1", get_params=get_params)
            with pytest.raises(LookupError):
                async with room.websocket():
                    raise AssertionError("it was opened")
    assert attributes(recording.span())["error.type"] == "LookupError"


# What is counted


async def test_events_gaps_and_reconnects(recording: Recording) -> None:
    async def handler(peer: Peer) -> None:
        await peer.open()
        for _subscription in range(2):
            await peer.frame()
        id, name = await peer.action()
        if peer.number == 1:
            await peer.send(event("news", 1) + event("news", 2) + event("unwanted", 3))
        else:
            await peer.send(event("news", 4) + response(id, name))
            await peer.serve_actions()

    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            client(url, recording) as one,
            one.room.get_for_id("a1").connect() as conn,
        ):
            news = conn.events("news", gaps="mark")
            other = conn.events("other")
            with pytest.raises(ConnectionLostError):
                await conn.go()
            await conn.go()
            assert [await news.receive(), await news.receive()] == [1, 2]
            assert isinstance(await news.receive(), Gap)
            assert await news.receive() == 4
            assert other.gaps == 1
    port = int(url.rpartition(":")[2])
    room = {"rivet.actor.name": "room", "server.address": "127.0.0.1", "server.port": port}
    of_news = {**room, "rivet.event.name": "news"}
    assert recording.values("rivet.client.events.received") == [(of_news, 3)]
    assert recording.values("rivet.client.connection.reconnects") == [(room, 1)]
    gaps = recording.values("rivet.client.events.gaps")
    assert sorted((labels["rivet.event.name"], count) for labels, count in gaps) == [
        ("news", 1),
        ("other", 1),
    ]
    assert recording.values("rivet.client.events.dropped") == []


async def test_drops(recording: Recording) -> None:
    async def handler(peer: Peer) -> None:
        await peer.open()
        frames = [await peer.frame() for _ in range(3)]
        assert len(frames) == 3
        for number in range(5):
            await peer.send(b"".join(event(name, number) for name in ("new", "old", "end")))
        await peer.serve_actions()

    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            client(url, recording) as one,
            one.room.get_for_id("a1").connect() as conn,
        ):
            new = conn.events("new", buffer_size=2, overflow="drop_newest")
            old = conn.events("old", buffer_size=2, overflow="drop_oldest")
            end = conn.events("end", buffer_size=2, overflow="raise")
            await conn.go()
            dropped = {stream.name: stream.dropped for stream in (new, old, end)}
            with pytest.raises(EventOverflowError):
                async for _ in end:
                    pass
    assert dropped == {"new": 3, "old": 3, "end": 1}
    counted = recording.values("rivet.client.events.dropped")
    assert {labels["rivet.event.name"]: count for labels, count in counted} == dropped


async def test_an_actor_that_moved(recording: Recording) -> None:
    """A second Init on one socket is a reconnect without an attempt."""

    async def handler(peer: Peer) -> None:
        await peer.open()
        await peer.action()
        await peer.send(text({"tag": "Init", "val": {"actorId": "a1", "connectionId": "c2"}}))
        await peer.serve_actions()

    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            client(url, recording) as one,
            one.room.get_for_id("a1").connect() as conn,
        ):
            with pytest.raises(ConnectionLostError):
                await conn.go()
            await conn.go()
    assert len(recording.spans("connect room")) == 1
    assert recording.value("rivet.client.connection.reconnects") == 1
