"""Trace context on its way to actors: who gets it, and that every server takes it."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
from opentelemetry import baggage, context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from rivet_anyio import Client
from rivet_anyio.otel import OpenTelemetry
from tests.peers.raw import INIT, Peer, serving, text
from tests.servers import CHECKED, Server, start_server

from .recording import Recording, id_of, in_header, parsed_head

GUARD = 60

REMOTE = SpanContext(
    0x0AF7651916CD43DD8448EB211C80319C,
    0x00F067AA0BA902B7,
    is_remote=True,
    trace_flags=TraceFlags(TraceFlags.SAMPLED),
    trace_state=TraceState([("vendor", "value"), ("other", "1@2")]),
)


@pytest.fixture(scope="module", params=CHECKED)
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "2.2.1":
        yield request.getfixturevalue("server")
        return
    with start_server(request.param) as server:
        yield server


async def test_every_server_takes_it(recording: Recording, any_server: Server) -> None:
    token = context.attach(set_span_in_context(NonRecordingSpan(REMOTE)))
    try:
        async with Client(any_server.endpoint, observer=recording.observer) as client:
            counter = client.counter.get_or_create("otel")
            await counter.setCount(1)
            async with counter.connect() as conn:
                assert await conn.increment(1) == 2
            web = client.web.get_or_create("otel")
            async with web.websocket("/hello") as socket:
                assert await socket.receive() == '{"hello":"/hello"}'
            arrived = (await web.fetch("/echo")).json()["headers"]
            if not any_server.version.startswith("2.0"):
                worker = client.worker.get_or_create("otel")
                assert (await worker.send_and_wait("jobs", 1)).status == "completed"
    finally:
        context.detach(token)
    # What is not observed itself passes on what is current.
    assert in_header(arrived) == (REMOTE.trace_id, REMOTE.span_id)
    assert arrived["tracestate"] == "vendor=value,other=1@2"
    assert len(recording.spans()) >= 4
    assert {span.context.trace_id for span in recording.spans() if span.context} == {
        REMOTE.trace_id
    }
    assert all(span.status.is_unset for span in recording.spans())


async def heads_of(client: Client) -> None:
    """An action, a request and a connection."""
    room = client.room.get_for_id("a1")
    await room.go()
    await room.fetch("/")
    async with room.connect():
        pass


class Listener:
    """A server that answers everything and keeps the headers."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []

    async def __call__(self, peer: Peer) -> None:
        head = await peer.head()
        self.heads.append(parsed_head(head))
        if "upgrade" in self.heads[-1]:
            await peer.send(peer.accept(head) + text(INIT))
            await peer.serve_actions()
        else:
            body = b'{"output":1}'
            size = len(body)
            await peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n" % size + body
            )


async def test_each_request_names_its_own_span(recording: Recording) -> None:
    listener = Listener()
    with anyio.fail_after(GUARD):
        async with (
            serving(listener) as url,
            Client(
                url,
                metadata_lookup=False,
                encoding="json",
                observer=recording.observer,
                headers={"Traceparent": "static", "x-mine": "kept"},
            ) as client,
        ):
            with recording.tracer.start_as_current_span("program") as program:
                await heads_of(client)
    action, connect = recording.spans()
    assert [in_header(head)[1] for head in listener.heads] == [
        id_of(action),
        id_of(program),
        id_of(connect),
    ]
    assert all(head["x-mine"] == "kept" for head in listener.heads)


async def test_a_callers_own_header_wins(recording: Recording) -> None:
    listener = Listener()
    async with (
        serving(listener) as url,
        Client(url, metadata_lookup=False, encoding="json", observer=recording.observer) as client,
    ):
        with recording.tracer.start_as_current_span("program"):
            await client.room.get_for_id("a1").fetch("/", headers={"TraceParent": "mine"})
    assert listener.heads[0]["traceparent"] == "mine"


async def test_baggage_stays_here_unless_asked_for() -> None:
    sent: list[list[str | None]] = []
    for options in ({}, {"propagator": CompositePropagator([W3CBaggagePropagator()])}):
        listener = Listener()
        recording = Recording(**options)
        token = context.attach(baggage.set_baggage("user", "42"))
        try:
            async with (
                serving(listener) as url,
                Client(
                    url, metadata_lookup=False, encoding="json", observer=recording.observer
                ) as client,
            ):
                await heads_of(client)
        finally:
            context.detach(token)
        sent.append([head.get("baggage") for head in listener.heads])
    assert sent == [[None] * 3, ["user=42"] * 3]


async def test_without_an_sdk_nothing_is_sent() -> None:
    listener = Listener()
    async with (
        serving(listener) as url,
        Client(url, metadata_lookup=False, encoding="json", observer=OpenTelemetry()) as client,
    ):
        await heads_of(client)
    assert len(listener.heads) == 3
    assert not any("traceparent" in head for head in listener.heads)
