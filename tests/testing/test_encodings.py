"""The server's side of the protocol, read and written by the client's side."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any, get_args

import pytest

from rivet_anyio import ActorError, ActorSpecifier, ConfigError, ProtocolError, Status
from rivet_anyio.protocol.codec import Codec, Encoding
from rivet_anyio.protocol.dialect import Dialect
from rivet_anyio.protocol.encodings import codec_for
from rivet_anyio.protocol.messages import ActionResponse, Event, Init, ServerError
from rivet_anyio.testing import ActorServer
from rivet_anyio.testing._encodings import (
    ActionRequest,
    QueueRequest,
    ServerCodec,
    SubscriptionRequest,
    server_codec,
)
from rivet_anyio.testing._release import Release, release_of

from .actors import ACTORS

VALUE: Any = [None, True, 5, 2**40, 2**60, 1.5, "ü ☃", b"\x00\xff", {"a": [[]]}, ["$x", 1]]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)


@pytest.fixture(params=["2.0", "2.2", "2.3"])
def release(request: pytest.FixtureRequest) -> Release:
    return release_of(request.param)


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    encoding: Encoding = request.param
    return encoding


@pytest.fixture
def server(release: Release, encoding: Encoding) -> ServerCodec:
    return server_codec(encoding, release)


@pytest.fixture
def client(release: Release, encoding: Encoding) -> Codec:
    return codec_for(encoding, release.dialect)


def test_what_clients_say(server: ServerCodec, client: Codec) -> None:
    for id in (0, 300):
        call = server.client_message(client.action_message(id, "add", [VALUE, 2]))
        assert call == ActionRequest(id, "add", [VALUE, 2])
    for subscribe in (True, False):
        asked = server.client_message(client.subscription_message("ünï", subscribe))
        assert asked == SubscriptionRequest("ünï", subscribe)
    assert server.action_args(client.action_body([VALUE])) == [VALUE]
    assert server.action_args(client.action_body([])) == []


def test_queue_messages(server: ServerCodec, client: Codec) -> None:
    body = client.queue_body("jobs", VALUE, True, 1500)
    assert server.queue_request(body) == QueueRequest("jobs", VALUE, True, 1.5)
    body = client.queue_body("jobs", None, False, None)
    assert server.queue_request(body) == QueueRequest("jobs", None, False, None)
    reply = client.queue_reply(server.queue_reply("completed", VALUE, True))
    assert reply.status == "completed"
    assert reply.response is not None and reply.response.load() == VALUE
    reply = client.queue_reply(server.queue_reply("timedOut", None, False))
    assert (reply.status, reply.response) == ("timedOut", None)


def test_what_servers_say(server: ServerCodec, client: Codec) -> None:
    assert client.server_message(server.init("a1", "c1")) == Init("a1", "c1")
    event = client.server_message(server.event("e", [VALUE, 1]))
    assert isinstance(event, Event)
    assert (event.name, event.args.load()) == ("e", [VALUE, 1])
    for id in (0, 300):
        answer = client.server_message(server.action_response(id, VALUE))
        assert isinstance(answer, ActionResponse)
        assert (answer.id, answer.output.load()) == (id, VALUE)
    assert client.action_output(server.action_reply(VALUE)).load() == VALUE


def test_errors(server: ServerCodec, client: Codec, release: Release) -> None:
    actor = ActorSpecifier("a1", 2, "k")
    error = ActorError("user", "bad", "no ☃", metadata={"n": 1}, actor=actor)
    for action_id in (None, 0, 7):
        message = client.server_message(server.error(error, action_id))
        assert isinstance(message, ServerError)
        body = message.body
        assert message.action_id == action_id
        assert (body.group, body.code, body.message) == ("user", "bad", "no ☃")
        assert body.metadata is not None and body.metadata.load() == {"n": 1}
        assert body.actor == (actor if release.has_engine else None)
    body = client.error_body(server.error_body(error))
    assert (body.group, body.code) == ("user", "bad")
    assert body.actor == (actor if release.has_engine else None)
    bare = client.error_body(server.error_body(ActorError("a", "b", "")))
    assert (bare.group, bare.metadata, bare.actor) == ("a", None, None)


def test_bare_says_its_version(release: Release) -> None:
    codec = codec_for("bare", Dialect.COMPAT)
    codec.server_message(server_codec("bare", release).init("a", "c"))
    assert codec.dialect is release.dialect


def test_ids_are_written_as_old_clients_read_them(release: Release) -> None:
    said = server_codec("json", release).action_response(7, 1)
    assert '"id":["$BigInt","7"]' in str(said)
    said = server_codec("cbor", release).action_response(7, 1)
    assert isinstance(said, bytes) and b"bid\x1b" + (7).to_bytes(8, "big") in said


def test_what_json_lacks() -> None:
    server, client = server_codec("json", release_of("2.3")), codec_for("json", Dialect.COMPAT)
    when = dt.datetime(2024, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
    said = client.action_output(server.action_reply([when, math.nan, {"at": (when,)}])).load()
    text = "2024-01-02T03:04:05.678Z"
    assert said == [text, None, {"at": [text]}]
    with pytest.raises(TypeError, match="output"):
        server.action_reply(object())


def test_what_the_newest_runtime_drops_over_http() -> None:
    """Dates pass on a connection; over HTTP they become null."""
    server, client = server_codec("cbor", release_of("2.3")), codec_for("cbor", Dialect.COMPAT)
    when = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    message = client.server_message(server.action_response(0, when))
    assert isinstance(message, ActionResponse) and message.output.load() == when
    assert client.action_output(server.action_reply(when)).load() is None


@pytest.mark.parametrize(
    "data",
    [b"", b"\x02\x00\x07", b"\xff\xff\x00", b"\x02\x00\x00\x00", "{}", '{"body":1}', b"\xa0", "["],
)
def test_what_is_no_message(server: ServerCodec, data: bytes | str) -> None:
    with pytest.raises(ProtocolError):
        server.client_message(data)


def test_releases() -> None:
    assert release_of("2.3").version == "2.3.19"
    assert release_of("2.3.7").version == "2.3.7"
    assert (release_of("2.0").has_queues, release_of("2.2").has_queues) == (False, True)
    for odd in ("", "2", "2.4", "3.0", "2.3.x", "v2.3"):
        with pytest.raises(ConfigError, match="version is"):
            release_of(odd)


@pytest.mark.parametrize("version", ["2.0", "2.2", "2.3"])
async def test_calls_over_http_are_written_as_a_connection_has_learned(version: str) -> None:
    """Without metadata, nothing else says it of an actor by id. A set shows it."""
    async with ActorServer(ACTORS, version=version) as server:
        async with server.client() as client:
            actor_id = await client.probe.get_or_create("k").resolve()
        async with server.client(metadata_lookup=False) as client:
            probe = client.probe.get_for_id(actor_id)
            async with probe.connect() as conn:
                assert await probe.echo({1}) == {1}
                changes = conn.status_changes()
                assert (await changes.receive()).status is Status.CONNECTED
                server.drop_connections()
                assert (await changes.receive()).status is Status.DISCONNECTED
                await conn.wait_connected()
                assert await probe.echo({1}) == {1}
            assert await probe.echo({1}) == {1}
