"""The client against another implementation of WebSockets: the `websockets` library."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from websockets.sync.server import ServerConnection

from rivet_anyio import (
    ActorError,
    ActorHandle,
    Client,
    Connection,
    ConnectionLostError,
    Retry,
    Status,
)

from .gateway import Gateway, init, message, requests, running

GUARD = 60
SOON = Retry(initial=0.001, maximum=0.001)
MIB = 1024 * 1024


def client(gateway: Gateway, **options: Any) -> Client:
    return Client(gateway.url, encoding="json", retry=SOON, **options)


def room(client: Client) -> ActorHandle:
    return client.actor("room").get(["a/b", "c"])


def connect(client: Client) -> Connection:
    return room(client).connect()


def echo(socket: ServerConnection) -> None:
    """Answer every action with its arguments."""
    socket.send(init())
    for asked in requests(socket):
        if "name" in asked:
            socket.send(message("ActionResponse", id=asked["id"], output=asked["args"]))


async def test_from_metadata_to_goodbye() -> None:
    with running(echo) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway, token="secret") as one, connect(one) as conn:
                assert (conn.actor_id, conn.connection_id) == ("a1", "c1")
                assert await conn.action("echo", 1, "zwei", None) == [1, "zwei", None]
                assert await conn.action("echo", b"\x00", 2**60, {3}) == [b"\x00", 2**60, {3}]
    assert gateway.requested == [
        "/metadata?namespace=default",
        "/actors?name=room&key=a%5C%2Fb%2Fc&namespace=default",
        "/gateway/a1/connect",
    ]
    upgrade = gateway.headers[-1]
    offered = upgrade["Sec-WebSocket-Protocol"].split(", ")
    assert offered == ["rivet", "rivet_encoding.json", "rivet_token.secret"]
    assert [headers.get("Authorization") for headers in gateway.headers] == [
        "Bearer secret",
        "Bearer secret",
        None,
    ]
    assert gateway.closes == [(1000, "Disposed")]


async def test_no_such_actor() -> None:
    with running(echo) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one:
                with pytest.raises(ActorError) as caught:
                    async with one.actor("room").get("missing").connect():
                        raise AssertionError("the connection opened")
    assert (caught.value.group, caught.value.code) == ("actor", "not_found")


@pytest.mark.parametrize("kind", ["text", "binary"])
@pytest.mark.parametrize("pieces", [1, 2, 7, 300])
async def test_messages_in_fragments(kind: str, pieces: int) -> None:
    output = "añ💻" * 100

    def talk(socket: ServerConnection) -> None:
        socket.send(init())
        for asked in requests(socket):
            text = message("ActionResponse", id=asked["id"], output=output)
            data: Any = text if kind == "text" else text.encode()
            step = -(-len(data) // pieces)
            parts = [data[i : i + step] for i in range(0, len(data), step)]
            if kind == "text":
                socket.send(iter(parts), text=True)
            else:
                socket.send(iter(parts), text=False)

    with running(talk) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, connect(one) as conn:
                assert await conn.action("get") == output


async def test_text_cut_inside_characters() -> None:
    def talk(socket: ServerConnection) -> None:
        socket.send(init())
        for asked in requests(socket):
            data = message("ActionResponse", id=asked["id"], output="💻ü").encode()
            socket.send((data[i : i + 1] for i in range(len(data))), text=True)

    with running(talk) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, connect(one) as conn:
                assert await conn.action("get") == "💻ü"


async def test_pings_are_answered() -> None:
    answered: list[bool] = []

    def talk(socket: ServerConnection) -> None:
        socket.send(init())
        for asked in requests(socket):
            answered.extend(socket.ping(data).wait(GUARD) for data in (b"", b"x" * 125, None))
            socket.send(message("ActionResponse", id=asked["id"], output=len(answered)))

    with running(talk) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, connect(one) as conn:
                assert await conn.action("ping") == 3
    assert answered == [True, True, True]


async def test_a_mebibyte_both_ways() -> None:
    big = "ü" * (MIB // 2)
    with running(echo) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, connect(one) as conn:
                assert await conn.action("echo", big) == [big]


async def test_many_actions_at_once() -> None:
    with running(echo) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, connect(one) as conn:
                answers: dict[int, Any] = {}

                async def call(number: int) -> None:
                    answers[number] = await conn.action("echo", number, "x" * 1000)

                async with anyio.create_task_group() as tasks:
                    for number in range(200):
                        tasks.start_soon(call, number)
    assert answers == {number: [number, "x" * 1000] for number in range(200)}


async def test_events_in_order() -> None:
    def talk(socket: ServerConnection) -> None:
        socket.send(init())
        for asked in requests(socket):
            if asked.get("subscribe"):
                for number in range(500):
                    socket.send(message("Event", name=asked["eventName"], args=[number]))

    with running(talk) as gateway:
        with anyio.fail_after(GUARD):
            async with (
                client(gateway) as one,
                connect(one) as conn,
                aclosing(conn.events("n")) as events,
            ):
                assert [await events.receive() for _ in range(500)] == list(range(500))
                await events.aclose()


@pytest.mark.parametrize("code, reason", [(1000, ""), (1001, "away"), (1011, ""), (4001, "böse")])
async def test_close_codes_of_the_server(code: int, reason: str) -> None:
    opened = 0

    def talk(socket: ServerConnection) -> None:
        nonlocal opened
        opened += 1
        socket.send(init(f"c{opened}"))
        if opened > 1:
            for asked in requests(socket):
                socket.send(message("ActionResponse", id=asked["id"], output=asked["args"]))
        else:
            next(requests(socket))
            socket.close(code, reason)

    with running(talk) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, connect(one) as conn:
                with pytest.raises(ConnectionLostError) as caught:
                    await conn.action("lost")
                assert (caught.value.code, caught.value.reason) == (code, reason)
                assert await conn.action("again", 2) == [2]
                assert conn.connection_id == "c2"
    # The first closing was answered with the same code.
    assert [seen for seen, _ in gateway.closes] == [code, 1000]


async def test_closed_by_the_actor_for_good() -> None:
    def talk(socket: ServerConnection) -> None:
        socket.send(init())
        next(requests(socket))
        socket.close(1011, "user.banned#ray1")

    with running(talk) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, connect(one) as conn:
                changes = conn.status_changes()
                with pytest.raises(ConnectionLostError) as caught:
                    await conn.action("lost")
                assert isinstance(caught.value.__cause__, ActorError)
                last = [change async for change in changes][-1]
                assert last.status is Status.CLOSED
                assert isinstance(last.error, ActorError)
                assert (last.error.group, last.error.code) == ("user", "banned")
                assert last.error.ray_id == "ray1"
                with pytest.raises(ActorError):
                    await conn.action("never")


# Raw WebSockets


def raw_echo(socket: ServerConnection) -> None:
    for data in socket:
        socket.send(data)


async def test_raw_messages_both_ways() -> None:
    messages: list[str | bytes] = ["", b"", "ü💻", b"\x00\xff", "x" * MIB, b"y" * MIB]
    with running(raw_echo) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, room(one).websocket("chat?x=1") as socket:
                for data in messages:
                    await socket.send(data)
                    assert await socket.receive() == data
    assert gateway.requested[-1] == "/gateway/a1/websocket/chat?x=1"
    assert gateway.closes == [(1000, "")]


async def test_raw_close_with_code_and_reason() -> None:
    with running(raw_echo) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, room(one).websocket("") as socket:
                await socket.aclose(4321, "enough")
    assert gateway.closes == [(4321, "enough")]


@pytest.mark.parametrize("code", [1000, 1001])
async def test_raw_iteration_ends_with_a_good_close(code: int) -> None:
    def talk(socket: ServerConnection) -> None:
        socket.send("one")
        socket.send(b"two")
        socket.close(code, "done")

    with running(talk) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, room(one).websocket("") as socket:
                assert [data async for data in socket] == ["one", b"two"]
                assert (socket.close_code, socket.close_reason) == (code, "done")


async def test_raw_other_closes_are_errors() -> None:
    def talk(socket: ServerConnection) -> None:
        socket.send("one")
        socket.close(4999, "broken")

    with running(talk) as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, room(one).websocket("") as socket:
                assert await socket.receive() == "one"
                with pytest.raises(ConnectionLostError) as caught:
                    await socket.receive()
    assert (caught.value.code, caught.value.reason) == (4999, "broken")


async def test_old_servers_get_no_markers_they_do_not_know() -> None:
    seen: list[Any] = []

    def talk(socket: ServerConnection) -> None:
        socket.send(init())
        for asked in requests(socket):
            seen.append(asked)
            socket.send(message("ActionResponse", id=asked["id"], output=None))

    with running(talk, version="2.2.1") as gateway:
        with anyio.fail_after(GUARD):
            async with client(gateway) as one, connect(one) as conn:
                with pytest.raises(TypeError, match=r"args\[0\]"):
                    await conn.action("a", {1})
                await conn.action("b", b"x")
    assert json.dumps(seen[-1]["args"]) == '[["$Uint8Array", "eA=="]]'
