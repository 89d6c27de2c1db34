"""Spans of actions and queue messages: where they nest, when they end, what they say."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from rivet_anyio import ActorError, Client, ClosedError, ConnectError, ConnectionLostError
from tests.peers.raw import Peer, serving
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

CALL = {"rpc.system.name": "rivet", "rpc.method": "room/wait", "network.protocol.name": "websocket"}


# Where they nest


async def test_over_http(recording: Recording, server: Server) -> None:
    async with Client(server.endpoint, observer=recording.observer) as client:
        with recording.tracer.start_as_current_span("program") as program:
            await client.counter.get_or_create("otel-http").increment(2)
            assert trace.get_current_span() is program
    span = recording.span()
    assert span.name == "counter/increment"
    assert span.kind is SpanKind.CLIENT
    assert parent_of(span) == id_of(program)
    assert status(span) == UNSET
    port = int(server.endpoint.rpartition(":")[2])
    assert span.attributes == {
        "rpc.system.name": "rivet",
        "rpc.method": "counter/increment",
        "network.protocol.name": "http",
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    assert [value for value, _ in recording.values("rpc.client.call.duration")] == [
        {
            "rpc.system.name": "rivet",
            "rpc.method": "counter/increment",
            "server.address": "127.0.0.1",
            "server.port": port,
        }
    ]


async def test_over_a_connection_from_many_tasks(recording: Recording, server: Server) -> None:
    programs: dict[str, int] = {}

    async def one(conn: Any, number: int) -> None:
        with recording.tracer.start_as_current_span(f"program {number}") as program:
            programs[f"probe/n{number}"] = id_of(program)
            with pytest.raises(ActorError):
                await conn.action(f"n{number}")
            assert trace.get_current_span() is program

    async with (
        Client(server.endpoint, observer=recording.observer) as client,
        client.probe.get_or_create("otel-many").connect() as conn,
        anyio.create_task_group() as tasks,
    ):
        for number in range(5):
            tasks.start_soon(one, conn, number)
    found = {span.name: parent_of(span) for span in recording.spans() if "/" in span.name}
    assert found == programs


async def test_queues(recording: Recording, server: Server) -> None:
    async with Client(server.endpoint, observer=recording.observer) as client:
        worker = client.worker.get_or_create("otel-queue")
        await worker.send("stuck", {"secret": "body"})
        async with worker.connect() as conn:
            await conn.send_and_wait("jobs", 1)
    send, wait = (span for span in recording.spans() if not span.name.startswith("connect"))
    assert (send.name, wait.name) == ("send worker/stuck", "send_and_wait worker/jobs")
    assert send.kind is wait.kind is SpanKind.CLIENT
    assert attributes(send) == {
        "messaging.system": "rivet",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "worker/stuck",
        "network.protocol.name": "http",
    }
    assert recording.value("messaging.client.operation.duration") == 2
    assert recording.values("rpc.client.call.duration") == []


# How they end


async def test_an_error_of_the_actor(recording: Recording, server: Server) -> None:
    async with Client(server.endpoint, observer=recording.observer) as client:
        probe = client.probe.get_or_create("otel-fail")
        async with probe.connect() as conn:
            for caller in (probe, conn):
                with pytest.raises(ActorError):
                    await caller.fail("coded", "detail")
    for span in recording.spans("probe/fail"):
        assert status(span) == FAILED
        assert span.events == ()
        assert attributes(span)["error.type"] == "user.my_code"
        assert attributes(span)["rpc.response.status_code"] == "user.my_code"
    ((labels, count),) = recording.values("rpc.client.call.duration")
    assert count == 2
    assert labels["error.type"] == "user.my_code"


async def test_cancellation(recording: Recording) -> None:
    active: list[float] = []

    async def handler(peer: Peer) -> None:
        await peer.open()
        await peer.action()
        active.append(recording.value("rivet.client.active_calls"))
        scope.cancel()
        await peer.silence()

    with anyio.fail_after(GUARD), anyio.CancelScope() as scope:
        async with (
            serving(handler) as url,
            client(url, recording) as one,
            one.room.get_for_id("a1").connect() as conn,
        ):
            await conn.wait()
    span = recording.span("room/wait")
    assert status(span) == UNSET
    assert attributes(span) == {**CALL, "rivet.cancelled": True}
    assert active == [1]
    assert recording.value("rivet.client.active_calls") == 0
    ((labels, _),) = recording.values("rpc.client.call.duration")
    assert labels["rivet.cancelled"] is True and "error.type" not in labels


async def test_cancellation_over_http(recording: Recording) -> None:
    async def handler(peer: Peer) -> None:
        await peer.head()
        scope.cancel()
        await peer.silence()

    with anyio.fail_after(GUARD):
        async with serving(handler) as url, client(url, recording) as one:
            with anyio.CancelScope() as scope:
                await one.room.get_for_id("a1").wait()
    assert scope.cancelled_caught
    span = recording.span()
    assert status(span) == UNSET
    assert attributes(span)["rivet.cancelled"] is True
    assert recording.value("rivet.client.active_calls") == 0


async def test_loss(recording: Recording) -> None:
    async def handler(peer: Peer) -> None:
        await peer.open()
        if peer.number == 1:
            await peer.action()
        else:
            await peer.serve_actions()

    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            client(url, recording) as one,
            one.room.get_for_id("a1").connect() as conn,
        ):
            with pytest.raises(ConnectionLostError):
                await conn.wait()
            assert await conn.wait() == "wait"
    lost, answered = recording.spans("room/wait")
    assert status(lost) == FAILED
    assert attributes(lost) == {**CALL, "error.type": "ConnectionLostError"}
    assert status(answered) == UNSET
    assert attributes(answered) == CALL


async def test_the_end_of_the_scope(recording: Recording) -> None:
    errors: list[str] = []

    async def call(conn: Any) -> None:
        with pytest.raises((ClosedError, ConnectionLostError)) as caught:
            await conn.wait()
        errors.append(type(caught.value).__name__)

    asked = anyio.Event()

    async def handler(peer: Peer) -> None:
        await peer.open()
        await peer.action()
        asked.set()
        await peer.frame()

    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            client(url, recording) as one,
            anyio.create_task_group() as tasks,
        ):
            async with one.room.get_for_id("a1").connect() as conn:
                tasks.start_soon(call, conn)
                await asked.wait()
            await call(conn)
    assert sorted(errors) == ["ClosedError", "ConnectionLostError"]
    found = recording.spans("room/wait")
    assert [attributes(span)["error.type"] for span in found] == errors
    assert recording.value("rivet.client.active_calls") == 0


async def test_nobody_is_there(recording: Recording) -> None:
    async with client("http://127.0.0.1:1", recording) as one:
        with pytest.raises(ConnectError):
            await one.room.get_for_id("a1").wait()
    assert attributes(recording.span())["error.type"] == "ConnectError"


async def test_repeats_are_one_call(recording: Recording) -> None:
    sent: list[tuple[int, int]] = []

    async def handler(peer: Peer) -> None:
        sent.append(in_header(parsed_head(await peer.head())))
        body = '{"group":"actor","code":"starting","message":""}'
        answer = "503 Service Unavailable"
        if peer.number == 3:
            body, answer = '{"output":7}', "200 OK"
        await peer.send(
            f"HTTP/1.1 {answer}\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )

    with anyio.fail_after(GUARD):
        async with serving(handler) as url, client(url, recording) as one:
            assert await one.room.get_for_id("a1").wait() == 7
    span = recording.span()
    assert span.context is not None
    assert sent == [(span.context.trace_id, span.context.span_id)] * 3
    assert status(span) == UNSET


# What they say


async def test_secrets_stay_out(server: Server) -> None:
    recording = Recording()
    secret = "s3cr3t"
    async with Client(
        server.endpoint,
        token=secret,
        headers={"x-own": secret},
        observer=recording.observer,
    ) as client:
        probe = client.probe.get_or_create(secret, params={"a": secret}, input=secret)
        async with probe.connect() as conn:
            for caller in (probe, conn):
                await caller.echo(secret)
                with pytest.raises(ActorError):
                    await caller.fail("coded", secret)
        await client.worker.get_or_create(secret).send("jobs", secret)
    assert len(recording.spans()) == 6
    for span in recording.spans():
        assert secret not in span.to_json()
    for metric in ("rpc.client.call.duration", "messaging.client.operation.duration"):
        assert recording.values(metric)
        assert secret not in str(recording.values(metric))


async def test_keys_are_for_those_who_ask(server: Server) -> None:
    recording = Recording(actor_keys=True)
    async with Client(server.endpoint, observer=recording.observer) as client:
        counter = client.counter.get_or_create(["org", "otel-key"])
        async with counter.connect() as conn:
            await conn.increment(1)
        await client.counter.get_for_id(await counter.resolve()).increment(1)
    connect, by_key, by_id = recording.spans()
    assert attributes(connect)["rivet.actor.key"] == ("org", "otel-key")
    assert attributes(by_key)["rivet.actor.key"] == ("org", "otel-key")
    assert "rivet.actor.key" not in attributes(by_id)
    assert "otel-key" not in str(recording.values("rpc.client.call.duration"))
