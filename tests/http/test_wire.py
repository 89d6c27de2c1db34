"""What time, cancellation and the user's own code do to requests over the client's own sockets."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from rivet_anyio import Client, ConnectError, ConnectionLostError, ProtocolError
from rivet_anyio._http import wire as wire_module
from rivet_anyio._io.backend import ReusableStream
from rivet_anyio._io.connect import DialError
from tests.peers.raw import Peer, make_closing_reset, serving

from .wire import ACTOR, GUARD, RIGHT, Request, Wire, ask, prepare, take_body, using, whole

LONG = b"x" * 6 * 1024 * 1024


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


async def chunked(peer: Peer) -> bytes:
    """The body of a request in chunks."""
    body = b""
    while True:
        size = int(await line(peer), 16)
        body += await peer._exactly(size)
        await line(peer)
        if not size:
            return body


async def line(peer: Peer) -> bytes:
    found = b""
    while not found.endswith(b"\r\n"):
        found += await peer._exactly(1)
    return found[:-2]


async def test_an_interim_answer_in_two_pieces_ends_its_own_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the interim head had to be complete in time, not the answer behind it."""
    monkeypatch.setattr(wire_module, "_FRAMING_SECONDS", 0.2)

    async def meeting(peer: Peer, request: Request) -> None:
        await take_body(peer, request.head)
        await peer.send(b"HTTP/1.1 102 Proc")
        await anyio.sleep(0.05)
        await peer.send(b"essing\r\n\r\n")
        await anyio.sleep(0.5)
        await peer.send(whole(b'{"output": "right"}'))

    async with using() as (wire, client):
        wire.instead["action"] = meeting
        with anyio.fail_after(GUARD):
            assert await ask(client, "action") == RIGHT


async def test_a_body_that_takes_its_time() -> None:
    """The seconds without a byte of an answer count while nothing is asked of the user's code."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        await anyio.sleep(1)
        yield b"b"

    async def meeting(peer: Peer, request: Request) -> None:
        await peer.send(whole(await chunked(peer)))

    async with using(request_timeout=0.3) as (wire, client):
        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            response = await client.x.get_for_id(ACTOR).fetch(
                "fetch", method="POST", content=pieces()
            )
        assert response.content == b"ab"


@pytest.mark.parametrize("ends", ["at the end", "at once"])
async def test_a_success_before_the_request_is_complete(ends: str) -> None:
    """The rest is sent, for the server reads it: it echoes, or has said all that it has to say."""
    done = anyio.Event()
    got = b""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield LONG[: 1024 * 1024]

    async def meeting(peer: Peer, request: Request) -> None:
        nonlocal got
        if ends == "at once":
            await peer.send(whole(b"thanks"))
            got = await chunked(peer)
        else:
            await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while size := int(await line(peer), 16):
                got += (part := await peer._exactly(size))
                await peer.send(b"%x\r\n%b\r\n" % (len(part), part))
                await line(peer)
            await line(peer)
            await peer.send(b"0\r\n\r\n")
        done.set()

    async with using() as (wire, client):
        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            response = await client.x.get_for_id(ACTOR).fetch(
                "fetch", method="POST", content=pieces()
            )
            await done.wait()
        assert got == LONG
        assert response.content == (LONG if ends == "at the end" else b"thanks")


@pytest.mark.parametrize("answer", [whole(b"thanks"), b"HTTP/1.1 200 OK\r\n\r\nthanks"])
async def test_a_success_of_a_server_that_goes_away(answer: bytes) -> None:
    """Nobody takes the rest, so nobody waits for it."""
    is_closed = False

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal is_closed
        try:
            yield b"a"
            await anyio.sleep_forever()
        finally:
            is_closed = True

    async def meeting(peer: Peer, request: Request) -> None:
        await line(peer)
        await peer.send(answer)
        await peer.stream.aclose()

    async with using() as (wire, client):
        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            fetching = client.x.get_for_id(ACTOR).fetch("fetch", method="POST", content=pieces())
            assert (await fetching).content == b"thanks"
            assert is_closed
            assert await ask(client, "fetch") == RIGHT


async def test_code_behind_the_last_piece_of_a_body_runs() -> None:
    """Also when the server, which has it all, has answered and gone away."""
    is_over, may_end = False, anyio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal is_over
        yield b"abc"
        await may_end.wait()
        is_over = True

    async def meeting(peer: Peer, request: Request) -> None:
        await peer._exactly(3)
        await peer.send(whole(b"thanks"))
        await peer.stream.aclose()
        await anyio.wait_all_tasks_blocked()
        may_end.set()

    async with using() as (wire, client):
        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            response = await client.x.get_for_id(ACTOR).fetch(
                "fetch", method="POST", content=pieces(), headers={"Content-Length": "3"}
            )
        assert response.content == b"thanks"
        assert is_over


@pytest.mark.parametrize(
    "piece", [memoryview(array("H", [0x6161, 0x6262])), bytearray(b"aabb"), memoryview(b"aabb")]
)
async def test_a_body_of_other_buffers(piece: Any) -> None:
    """Their length may count something else than bytes."""

    async def pieces() -> AsyncIterator[Any]:
        yield piece

    async def meeting(peer: Peer, request: Request) -> None:
        await peer.send(whole(await chunked(peer)))

    async with using() as (wire, client):
        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            response = await client.x.get_for_id(ACTOR).fetch(
                "fetch", method="POST", content=pieces()
            )
        assert response.content == b"aabb"


@pytest.mark.parametrize("piece", ["text", None, 5, array("H", [1])])
async def test_a_body_of_what_is_not_bytes(piece: Any) -> None:
    async def pieces() -> AsyncIterator[Any]:
        yield piece

    async with using() as (_, client):
        with anyio.fail_after(GUARD):
            with pytest.raises(TypeError, match="content yields bytes, not"):
                await client.x.get_for_id(ACTOR).fetch("fetch", method="POST", content=pieces())
            assert await ask(client, "fetch") == RIGHT


async def test_an_echo_that_is_too_long() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):  # more than the system buffers
            yield LONG[: 1024 * 1024]

    async def meeting(peer: Peer, request: Request) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.send(b"400\r\n" + bytes(1024) + b"\r\n")

    async with using(max_message_size=1024 * 1024) as (wire, client):
        wire.instead["stream"] = meeting
        with anyio.fail_after(GUARD), pytest.raises(ProtocolError, match="max_message_size"):
            async with client.x.get_for_id(ACTOR).stream("stream", method="POST", content=pieces()):
                pytest.fail("the body ran")


class Odd(Exception):
    """The user's own."""


@pytest.mark.parametrize("error", [Odd("x"), ConnectionLostError("of another stream")])
async def test_a_body_that_raises(error: Exception) -> None:
    """Whatever it is, it comes out as it is, and the socket is not used again."""
    closed = False

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            yield b"a"
            raise error
        finally:
            closed = True

    async with using() as (wire, client):
        ended = anyio.Event()

        async def meeting(peer: Peer, request: Request) -> None:
            try:
                await peer.silence()
            finally:
                ended.set()

        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            with pytest.raises(type(error)) as raised:
                await client.x.get_for_id(ACTOR).fetch("fetch", method="POST", content=pieces())
            await ended.wait()
            assert raised.value is error and closed
            assert await ask(client, "fetch") == RIGHT
        assert wire.last("fetch").connection != wire.requests[0].connection


async def test_a_client_that_is_left_while_calls_are_under_way() -> None:
    """They may have run, and the error says why there is no answer."""
    errors: list[ConnectionLostError] = []
    asked = anyio.Event()

    async def meeting(peer: Peer, request: Request) -> None:
        asked.set()
        await peer.silence()

    async with using() as (wire, client):
        wire.instead["action"] = meeting
        other = client

        async def call() -> None:
            try:
                await ask(other, "action")
            except ConnectionLostError as error:
                errors.append(error)

        with anyio.fail_after(GUARD):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await asked.wait()
                client._core.close()
    assert "block was left" in str(errors[0])


async def test_an_upgrade_on_a_socket_that_died_meanwhile() -> None:
    """The handshake goes out again, on a new socket."""
    async with using("metadata") as (wire, client):

        async def die(peer: Peer, request: Request) -> None:
            await peer.stream.aclose()

        with anyio.fail_after(GUARD):
            assert await ask(client, "put")
            wire.instead["connect"] = die
            assert await ask(client, "connect") == RIGHT
        assert [each.kind for each in wire.requests].count("connect") == 2


async def test_an_upgrade_on_a_new_socket_that_dies() -> None:
    """It may be what the server says to everybody, so it is the end of this attempt."""
    async with using("metadata") as (wire, client):

        async def die(peer: Peer, request: Request) -> None:
            if [each.kind for each in wire.requests].count("connect") == 1:
                wire.instead["connect"] = die
            await peer.stream.aclose()

        with anyio.fail_after(GUARD):
            assert await ask(client, "put")
            wire.instead["connect"] = die
            with pytest.raises(ConnectError, match="the handshake broke"):
                await ask(client, "connect")
        assert [each.kind for each in wire.requests].count("connect") == 2


@pytest.mark.parametrize(
    "begun",
    ["HTTP/1.1 503 Serv", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 101 S\r\nUpg", None],
)
async def test_an_upgrade_that_the_server_has(begun: str | None) -> None:
    """It is not sent again, though its socket had been idle: it broke off, or took too long."""
    async with using("metadata", request_timeout=0.5) as (wire, client):

        async def have(peer: Peer, request: Request) -> None:
            if begun is None:
                await peer.silence()
            else:
                await peer.send(begun.encode())
            await peer.stream.aclose()

        with anyio.fail_after(GUARD):
            assert await ask(client, "put")
            wire.instead["connect"] = have
            with pytest.raises(ConnectError, match="the handshake broke"):
                await ask(client, "connect")
        assert [each.kind for each in wire.requests].count("connect") == 1


async def test_a_loss_ends_the_idle_sockets_of_its_server() -> None:
    """What broke one of them may have broken them all, and only a request would show it."""
    is_held, may_go = anyio.Event(), anyio.Event()

    async def hold(peer: Peer, request: Request) -> None:
        await take_body(peer, request.head)
        is_held.set()
        await may_go.wait()
        await peer.send(whole(b'{"output": "right"}'))

    async def break_off(peer: Peer, request: Request) -> None:
        await take_body(peer, request.head)
        make_closing_reset(peer.stream)
        await peer.stream.aclose()

    async with using() as (wire, client):
        with anyio.fail_after(GUARD):
            wire.instead["action"] = hold
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, client, "action")
                await is_held.wait()
                assert await ask(client, "action") == RIGHT
                may_go.set()
            idle = {request.connection for request in wire.requests}
            wire.instead["action"] = break_off
            with pytest.raises(ConnectionLostError):
                await ask(client, "action")
            assert await ask(client, "action") == RIGHT
        assert len(idle) == 2 and wire.last("action").connection not in idle


async def test_a_response_that_is_left_early_gives_up_its_socket() -> None:
    async def endless(peer: Peer, request: Request) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        await peer.silence()

    async with using() as (wire, client):
        wire.instead["stream"] = endless
        with anyio.fail_after(GUARD):
            async with client.x.get_for_id(ACTOR).stream("stream") as response:
                assert response.status_code == 200
            await wire.ends(wire.last("stream").connection)
            assert await ask(client, "stream") == RIGHT


async def test_a_reset_is_no_end_of_a_body() -> None:
    """Not even where nothing but the end of the connection ends it."""
    was_read = anyio.Event()

    async def meeting(peer: Peer, request: Request) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await was_read.wait()
        make_closing_reset(peer.stream)
        await peer.stream.aclose()

    async with using() as (wire, client):
        wire.instead["stream"] = meeting
        with anyio.fail_after(GUARD):
            async with client.x.get_for_id(ACTOR).stream("stream") as response:
                pieces = response.aiter_raw()
                assert await anext(pieces) == b"abc"
                was_read.set()
                with pytest.raises(ConnectionLostError, match="the connection broke"):
                    await anext(pieces)


@pytest.mark.parametrize("carrier", ["wire", "httpx"])
@pytest.mark.parametrize("kind", ["action", "fetch", "put", "send"])
async def test_an_endpoint_that_moved(kind: str, carrier: str) -> None:
    """A client without a connection finds it, after one call that met nobody there."""

    def leads_to(url: str) -> bytes:
        metadata = {"runtime": "rivetkit", "version": "2.2.1", "clientEndpoint": url}
        return whole(json.dumps(metadata).encode())

    new = Wire()
    with anyio.fail_after(GUARD):
        async with (
            serving(new.handle) as new_url,
            using("metadata") as (front, _),
            httpx.AsyncClient(trust_env=False) as http,
            Client(front.url, encoding="json", http=http if carrier == "httpx" else None) as client,
        ):
            old = Wire()
            async with serving(old.handle) as old_url:
                front.answer("metadata", leads_to(old_url))
                await ask(client, kind)
            front.answer("metadata", leads_to(new_url))
            with pytest.raises((ConnectError, ConnectionLostError)):
                while True:
                    await ask(client, kind)
            while True:  # what was lost may have run; then nobody is met there
                try:
                    await ask(client, kind)
                except ConnectError:
                    continue
                break
            assert new.last(kind)


async def test_a_body_that_is_not_wanted_is_closed() -> None:
    """A refusal ends the user's generator there and then."""
    closed = False

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            while True:
                yield LONG
        finally:
            await anyio.lowlevel.checkpoint()
            closed = True

    async def meeting(peer: Peer, request: Request) -> None:
        await peer.send(whole(b"no", status="413 Content Too Large"))
        await peer.silence()

    async with using() as (wire, client):
        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            actor = client.x.get_for_id(ACTOR)
            response = await actor.fetch("fetch", method="POST", content=pieces())
        assert response.status_code == 413 and closed


@pytest.mark.parametrize("in_chunks", [True, False])
async def test_an_answer_in_one_piece_that_is_too_long(in_chunks: bool) -> None:
    body = b'{"output": "' + b"x" * 2000 + b'"}'
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if in_chunks else whole(body)

    async def meeting(peer: Peer, request: Request) -> None:
        await take_body(peer, request.head)
        await peer.send(answer)

    async with using(max_message_size=1000) as (wire, client):
        wire.instead["action"] = meeting
        with anyio.fail_after(GUARD), pytest.raises(ProtocolError, match="more than 1000 bytes"):
            await ask(client, "action")


@pytest.mark.parametrize("is_own_fault", [True, False])
async def test_a_dial_without_a_descriptor_says_nothing_of_the_server(is_own_fault: bool) -> None:
    class Refusing:
        async def connect(self, host: str, port: int) -> ReusableStream:
            raise DialError(host, port, "no", out_of_descriptors=is_own_fault)

    client = Client("http://h")
    client._connector = Refusing()
    async with client:
        with pytest.raises(ConnectError, match="no"):
            await client.x.get_for_id(ACTOR).action("go")
        assert client._core.http.failed_dials == (0 if is_own_fault else 1)


async def test_an_error_that_is_cut_off_leaves_no_socket() -> None:
    async def meeting(peer: Peer, request: Request) -> None:
        head = b"HTTP/1.1 503 Away\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
        await peer.send(head + b"\r\n{")
        await peer.stream.aclose()

    async with using() as (wire, client):
        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            with pytest.raises(ConnectionLostError):
                await client.x.get_for_id(ACTOR).fetch("fetch")
        transport = client._core.http
        assert isinstance(transport, wire_module.Wire) and transport.pool.count().open == 0


async def test_requests_with_the_same_headers_keep_the_fields_of_their_origins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No host, and no proxy's credentials, are those of the request before."""
    heads: list[str] = []

    async def handle(peer: Peer) -> None:
        while True:
            heads.append(await peer.head())
            await peer.send(whole(b"x"))

    async with serving(handle) as proxy, serving(handle) as direct:
        address = direct.removeprefix("http://")
        monkeypatch.setenv("http_proxy", proxy.replace("//", "//user:secret@"))
        monkeypatch.setenv("no_proxy", address)
        async with Client("http://far.example") as client:
            wire = client._core.http
            token = {"a": "1"}
            with anyio.fail_after(GUARD):
                for url in ("http://far.example/", f"{direct}/", f"{direct}/", "http://other/"):
                    await wire.request("GET", url, headers=token)
                token["a"] = "2"
                await wire.request("GET", "http://other/", headers=token)
    hosts = [re.findall(r"(?i)\r\nhost: (.*)\r\n", head) for head in heads]
    assert hosts == [["far.example"], [address], [address], ["other"], ["other"]]
    has_secret = ["proxy-authorization" in head.lower() for head in heads]
    assert has_secret == [True, False, False, True, True]
    assert [re.findall(r"\r\na: (.*)\r\n", head) for head in heads] == [["1"]] * 4 + [["2"]]
