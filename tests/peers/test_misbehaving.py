"""The client against servers that break the rules or fall silent."""

from __future__ import annotations

import gzip
import json
import socket
from typing import Any

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ConnectError,
    Connection,
    ConnectionLostError,
    ProtocolError,
    Retry,
)
from rivet_anyio._http.wire import Wire

from .raw import (
    INIT,
    Handler,
    Peer,
    close,
    frame,
    make_closing_reset,
    play_along,
    response,
    serving,
    text,
    upgrade_only,
)

GUARD = 60
"""Seconds after which a test has hung, whatever it waits for."""

SOON = Retry(initial=0.001, maximum=0.001)


def client(url: str, **options: Any) -> Client:
    return Client(url, metadata_lookup=False, encoding="json", retry=SOON, **options)


def connection(client: Client) -> Connection:
    # By id, so that the WebSocket is all that the server ever sees.
    return client.actor("room").get_for_id("a1").connect()


async def refused(handler: Handler, error: type[Exception], **options: Any) -> Exception:
    """The error that opening a connection raises."""
    async with serving(handler) as url, client(url, **options) as one:
        with anyio.fail_after(GUARD), pytest.raises(error) as caught:
            async with connection(one):
                raise AssertionError("the connection opened")
    return caught.value


# The handshake


async def test_wrong_accept_key() -> None:
    async def handler(peer: Peer) -> None:
        head = await peer.head()
        await peer.send(peer.switching(head, "Sec-WebSocket-Protocol: rivet\r\n", key="other"))
        await peer.silence()

    assert "Sec-WebSocket-Accept" in str(await refused(handler, ProtocolError))


async def test_a_refused_101_leaves_no_socket() -> None:
    """Where sockets are scarce, each that is counted is one less."""

    async def handler(peer: Peer) -> None:
        await peer.send(peer.switching(await peer.head(), "", key="other"))
        await peer.silence()

    async with serving(handler) as url, client(url) as one:
        with anyio.fail_after(GUARD), pytest.raises(ProtocolError):
            async with connection(one):
                raise AssertionError("the connection opened")
        wire = one._core.http
        assert isinstance(wire, Wire) and wire.pool.count().open == 0


@pytest.mark.parametrize(
    "headers, said",
    [
        ("", "subprotocol None"),
        ("Sec-WebSocket-Protocol: other\r\n", "subprotocol 'other'"),
        (
            "Sec-WebSocket-Protocol: rivet\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
            "extensions",
        ),
    ],
)
async def test_a_101_that_was_not_asked_for(headers: str, said: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.send(peer.switching(await peer.head(), headers))
        await peer.silence()

    assert said in str(await refused(handler, ProtocolError))


async def test_a_101_to_something_else() -> None:
    async def handler(peer: Peer) -> None:
        good = peer.accept(await peer.head())
        await peer.send(good.replace(b"Upgrade: websocket", b"Upgrade: h2c"))
        await peer.silence()

    assert "not asked for" in str(await refused(handler, ConnectError))


@pytest.mark.parametrize(
    "status, reason", [(200, "OK"), (302, "Found"), (401, "Unauthorized"), (503, "Away")]
)
async def test_another_status(status: int, reason: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.head()
        await peer.send(
            f"HTTP/1.1 {status} {reason}\r\nContent-Length: 2\r\nRetry-After: 7\r\n"
            "Location: http://127.0.0.1:1/\r\n\r\nno".encode()
        )
        await peer.silence()

    error = await refused(handler, ConnectError)
    assert isinstance(error, ConnectError)
    assert (error.status, error.retry_after) == (status, 7)
    assert str(status) in str(error)


async def test_a_refusal_that_says_why() -> None:
    body = b'{"group":"guard","code":"no_route","message":"nothing here"}'

    async def handler(peer: Peer) -> None:
        await peer.head()
        await peer.send(
            b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nx-rivet-ray-id: r1\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        await peer.silence()

    error = await refused(handler, ActorError)
    assert isinstance(error, ActorError)
    assert (error.group, error.code, error.ray_id) == ("guard", "no_route", "r1")


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 101 Switch", b"SSH-2\r\n"]
)
async def test_no_http(data: bytes) -> None:
    async def handler(peer: Peer) -> None:
        await peer.head()
        if data:
            await peer.send(data)

    await refused(handler, ConnectError)


async def test_silence_instead_of_an_answer() -> None:
    async def handler(peer: Peer) -> None:
        await peer.silence()

    error = await refused(handler, ConnectError, connect_timeout=0.5)
    assert "connect_timeout" in str(error)


async def test_init_never_comes() -> None:
    error = await refused(upgrade_only, ConnectError, connect_timeout=2.0)
    assert "did not open" in str(error)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else can get the port, and connecting is refused.
        taken.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{taken.getsockname()[1]}") as one:
            with anyio.fail_after(GUARD), pytest.raises(ConnectError):
                async with connection(one):
                    raise AssertionError("the connection opened")


# Init


async def test_init_byte_by_byte() -> None:
    async def handler(peer: Peer) -> None:
        for byte in peer.accept(await peer.head()) + text(INIT):
            await peer.send(bytes((byte,)))
        await peer.serve_actions()

    async with serving(handler) as url, client(url) as one:
        with anyio.fail_after(GUARD):
            async with connection(one) as conn:
                assert (conn.actor_id, conn.connection_id) == ("a1", "c1")
                assert await conn.action("hello") == "hello"


async def test_init_in_the_same_packet_as_the_101_and_events_behind_it() -> None:
    event = text({"tag": "Event", "val": {"name": "e", "args": [1]}})

    async def handler(peer: Peer) -> None:
        await peer.send(peer.accept(await peer.head()) + text(INIT) + event * 3)
        await peer.serve_actions()

    async with serving(handler) as url, client(url) as one:
        with anyio.fail_after(GUARD):
            async with connection(one) as conn:
                assert await conn.action("hello") == "hello"


@pytest.mark.parametrize(
    "first",
    [
        response(0, 1),
        text({"tag": "Init", "val": {}}),
        text({"tag": "What", "val": {}}),
        frame(1, b"{"),
        frame(2, b"\xff\xfe"),
    ],
    ids=["response", "empty Init", "unknown tag", "no JSON", "no UTF-8"],
)
async def test_something_else_than_init(first: bytes) -> None:
    async def handler(peer: Peer) -> None:
        await peer.send(peer.accept(await peer.head()) + first)
        await peer.silence()

    await refused(handler, ProtocolError)


async def test_refused_by_the_actor() -> None:
    refusal = {"group": "user", "code": "no", "message": "go away", "actionId": None}

    async def handler(peer: Peer) -> None:
        await peer.send(
            peer.accept(await peer.head())
            + text({"tag": "Error", "val": refusal})
            + close(1011, "user.no")
        )
        await peer.silence()

    error = await refused(handler, ActorError)
    assert isinstance(error, ActorError)
    assert (error.group, error.code, error.message) == ("user", "no", "go away")


async def test_refused_by_a_close_reason() -> None:
    async def handler(peer: Peer) -> None:
        await peer.send(peer.accept(await peer.head()) + close(1011, "user.no#ray7"))
        await peer.silence()

    error = await refused(handler, ActorError)
    assert isinstance(error, ActorError)
    assert (error.group, error.code, error.ray_id) == ("user", "no", "ray7")


# Frames that are none

GARBAGE = {
    "masked": b"\x81\x81\x01\x02\x03\x04\x05",
    "reserved bit": b"\xc1\x01a",
    "bad opcode": b"\x83\x01a",
    "bad control opcode": b"\x8b\x00",
    "oversized control frame": b"\x89\x7e\x00\x7e" + b"x" * 126,
    "fragmented control frame": b"\x09\x00",
    "invalid UTF-8": b"\x81\x02\xc3\x28",
    "close frame with one byte": b"\x88\x01\x03",
    "close frame with invalid UTF-8": b"\x88\x04\x03\xe8\xc3\x28",
    "close frame with a code that is none": b"\x88\x02\x03\xed",
    "continuation of nothing": b"\x80\x01a",
    "message inside a message": b"\x01\x01a\x81\x01b",
    "length not minimal": b"\x81\x7e\x00\x01a",
    "length of 63 bits and more": b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_before_init(name: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.send(peer.accept(await peer.head()) + GARBAGE[name])
        await peer.silence()

    error = await refused(handler, Exception)
    assert isinstance(error, (ProtocolError, ConnectionLostError))


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_while_an_action_is_under_way(name: str) -> None:
    codes: list[int] = []

    async def handler(peer: Peer) -> None:
        await peer.open()
        if peer.number > 1:
            await peer.serve_actions()
            return
        await peer.action()
        await peer.send(GARBAGE[name])
        opcode, payload = await peer.frame()
        assert opcode == 8
        codes.append(int.from_bytes(payload[:2], "big"))

    async with serving(handler) as url, client(url) as one:
        with anyio.fail_after(GUARD):
            async with connection(one) as conn:
                with pytest.raises(ConnectionLostError, match="may have run"):
                    await conn.action("lost")
                assert await conn.action("again") == "again"
    assert codes and codes[0] in (1002, 1007)


# Sizes


@pytest.mark.parametrize("fragments", [1, 50])
async def test_a_message_too_long(fragments: int) -> None:
    codes: list[int] = []
    data = b'"' + b"x" * 5000 + b'"'
    step = len(data) // fragments

    async def handler(peer: Peer) -> None:
        await peer.upgrade()
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        # All at once: what the client leaves unread would reset the connection, and its last
        # words would be lost.
        await peer.send(
            b"".join(
                frame(1 if i == 0 else 0, piece, fin=i == len(pieces) - 1)
                for i, piece in enumerate(pieces)
            )
        )
        opcode, payload = await peer.frame()
        assert opcode == 8
        codes.append(int.from_bytes(payload[:2], "big"))

    error = await refused(handler, ProtocolError, max_message_size=4096)
    assert "max_message_size" in str(error)
    assert codes == [1009]


async def test_a_message_of_just_the_allowed_length() -> None:
    async def handler(peer: Peer) -> None:
        await peer.open()
        id, _ = await peer.action()
        empty = len(
            json.dumps({"body": {"tag": "ActionResponse", "val": {"id": id, "output": ""}}})
        )
        await peer.send(response(id, "x" * (4096 - empty)))
        await peer.serve_actions()

    async with serving(handler) as url, client(url, max_message_size=4096) as one:
        with anyio.fail_after(GUARD):
            async with connection(one) as conn:
                assert set(await conn.action("long")) == {"x"}


# Losses


@pytest.mark.parametrize("how", ["reset", "end", "end in mid-frame", "reset in mid-frame"])
async def test_lost_while_an_action_is_under_way(how: str) -> None:
    asked: list[str] = []

    async def handler(peer: Peer) -> None:
        await peer.open()
        if peer.number > 1:
            await peer.serve_actions()
            return
        id, name = await peer.action()
        asked.append(name)
        if "mid-frame" in how:
            await peer.send(response(id, "never whole")[:-3])
        if "reset" in how:
            make_closing_reset(peer.stream)

    async with serving(handler) as url, client(url) as one:
        with anyio.fail_after(GUARD):
            async with connection(one) as conn:
                with pytest.raises(ConnectionLostError, match=r"'first'.*may have run"):
                    await conn.action("first")
                assert await conn.action("second") == "second"
    assert asked == ["first"]


async def test_events_across_a_loss() -> None:
    seen: list[tuple[int, str, bool]] = []
    event = {"tag": "Event", "val": {"name": "e", "args": []}}

    async def handler(peer: Peer) -> None:
        await peer.open()
        opcode, payload = await peer.frame()
        assert opcode == 1
        value = json.loads(payload)["body"]["val"]
        seen.append((peer.number, value["eventName"], value["subscribe"]))
        event["val"] = {"name": "e", "args": [peer.number]}
        await peer.send(text(event))
        if peer.number > 1:
            await peer.serve_actions()
        make_closing_reset(peer.stream)

    async with serving(handler) as url, client(url) as one:
        with anyio.fail_after(GUARD):
            async with connection(one) as conn, conn.events("e") as events:
                assert [await events.receive(), await events.receive()] == [1, 2]
                assert events.gaps == 1
    assert seen == [(1, "e", True), (2, "e", True)]


async def test_a_peer_that_answers_no_ping() -> None:
    opcodes: list[int] = []

    async def handler(peer: Peer) -> None:
        await peer.open()
        if peer.number > 1:
            await peer.serve_actions()
        # The action and the ping, whichever comes first.
        opcodes.extend([(await peer.frame())[0] for _ in range(2)])
        await peer.silence()

    options = {"ping_interval": 0.05, "ping_timeout": 1.0}
    async with serving(handler) as url, client(url, **options) as one:
        with anyio.fail_after(GUARD):
            async with connection(one) as conn:
                with pytest.raises(ConnectionLostError, match="ping"):
                    await conn.action("lost")
    assert sorted(opcodes) == [1, 9]


async def test_answered_pings_keep_the_connection() -> None:
    async def handler(peer: Peer) -> None:
        assert peer.number == 1, "the connection was given up"
        await peer.open()
        pings, id = 0, None
        while pings < 3 or id is None:
            opcode, payload = await peer.frame()
            if opcode == 9:
                pings += 1
                await peer.send(frame(10, payload))
            else:
                id = json.loads(payload)["body"]["val"]["id"]
        await peer.send(response(id, "three"))
        await peer.serve_actions()

    async with serving(handler) as url, client(url, ping_interval=0.02, ping_timeout=10) as one:
        with anyio.fail_after(GUARD):
            async with connection(one) as conn:
                assert await conn.action("wait") == "three"


async def test_an_answer_is_never_unpacked() -> None:
    """A mebibyte of gzip can hold a gibibyte."""
    packed = gzip.compress(bytes(64 * 1024 * 1024))

    async def handler(peer: Peer) -> None:
        head = await peer.head()
        assert "accept-encoding: identity" in head.lower()
        answer = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}"
        await peer.send(answer.encode() + b"\r\n\r\n" + packed)

    async with serving(handler) as url, client(url) as one:
        with anyio.fail_after(GUARD):
            with pytest.raises(ProtocolError, match="gzip"):
                await one.actor("room").get_for_id("a1").action("act")


async def test_an_error_whose_metadata_cannot_be_read_spoils_nothing_else() -> None:
    async def handler(peer: Peer) -> None:
        await peer.open()
        id, _ = await peer.action()
        error = {"group": "user", "code": "broken", "message": "m", "actionId": id}
        await peer.send(text({"tag": "Error", "val": {**error, "metadata": ["$BigInt", "x"]}}))
        await peer.serve_actions()

    async with serving(handler) as url, client(url) as one, connection(one) as conn:
        with anyio.fail_after(GUARD):
            with pytest.raises(ActorError) as caught:
                await conn.action("first")
            assert (caught.value.code, caught.value.metadata) == ("broken", None)
            assert "cannot be read" in caught.value.__notes__[0]
            assert await conn.action("second") == "second"


async def test_an_answer_to_what_was_never_asked() -> None:
    async def handler(peer: Peer) -> None:
        await peer.open()
        if peer.number > 1:
            await peer.serve_actions()
        await peer.action()
        await peer.send(response(99, None))
        await peer.silence()

    async with serving(handler) as url, client(url) as one:
        with anyio.fail_after(GUARD):
            async with connection(one) as conn:
                with pytest.raises(ConnectionLostError, match="never sent"):
                    await conn.action("lost")


# Leaving


@pytest.mark.parametrize("reads", [True, False])
async def test_a_peer_that_never_answers_the_close_frame(reads: bool) -> None:
    left = anyio.Event()
    frames: list[tuple[int, bytes]] = []

    async def handler(peer: Peer) -> None:
        await peer.open()
        if reads:
            frames.append(await peer.frame())
        await left.wait()

    async with serving(handler) as url, client(url, close_timeout=0.1) as one:
        with anyio.fail_after(GUARD):
            async with connection(one):
                pass
        left.set()
    assert frames == ([(8, b"\x03\xe8Disposed")] if reads else [])


async def test_cancelled_while_the_peer_is_silent() -> None:
    opened = anyio.Event()
    seen: list[str] = []

    async def handler(peer: Peer) -> None:
        await peer.open()
        seen.append((await peer.action())[1])
        opened.set()
        await anyio.sleep_forever()

    async with serving(handler) as url, client(url, close_timeout=0.1) as one:
        with anyio.fail_after(GUARD):
            async with anyio.create_task_group() as tasks:

                async def use() -> None:
                    async with connection(one) as conn:
                        await conn.action("never")

                tasks.start_soon(use)
                await opened.wait()
                tasks.cancel_scope.cancel()
    assert seen == ["never"]


async def test_the_body_s_own_error_comes_out_as_itself() -> None:
    class Own(Exception):
        pass

    raised = Own()
    async with serving(play_along) as url, client(url) as one:
        with anyio.fail_after(GUARD), pytest.raises(Own) as caught:
            async with connection(one):
                raise raised
    assert caught.value is raised
