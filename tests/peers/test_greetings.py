"""Actors that send events while a connection opens, and streams from before its block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ClosedError,
    Connection,
    Event,
    EventOverflowError,
    Gap,
    ProtocolError,
    Retry,
    Status,
    TypedActor,
)

from .raw import INIT, Peer, close, play_along, serving, text

GUARD = 60
SOON = Retry(initial=0.001, maximum=0.001)


class Greeter(TypedActor, name="greeter"):
    welcome: Event[int]


def client(url: str) -> Client:
    return Client(url, metadata_lookup=False, encoding="json", retry=SOON)


def connection(client: Client) -> Connection:
    return client.greeter.get_for_id("a1").connect()


def event(name: str, *args: Any) -> bytes:
    return text({"tag": "Event", "val": {"name": name, "args": args}})


def greeting(*values: int, then: Callable[[Peer], Awaitable[None]] = Peer.serve_actions) -> Any:
    """A handler that sends `welcome` events, Init, one more of them, and goes on."""

    async def talk(peer: Peer) -> None:
        early = b"".join(event("welcome", value) for value in values)
        accepted = peer.accept(await peer.head())
        await peer.send(accepted + early + text(INIT) + event("welcome", -1))
        await then(peer)

    return talk


async def test_a_greeting_is_delivered_after_init_in_order() -> None:
    with anyio.fail_after(GUARD):
        async with serving(greeting(1, 2, 3)) as url, client(url) as one:
            conn = connection(one)
            welcome = conn.events("welcome")
            async with conn:
                assert [await welcome.receive() for _ in range(4)] == [1, 2, 3, -1]
                assert await conn.action("hi") == "hi"


async def test_a_greeting_that_nobody_waits_for() -> None:
    with anyio.fail_after(GUARD):
        async with (
            serving(greeting(1, 2, 3)) as url,
            client(url) as one,
            connection(one) as conn,
        ):
            assert await conn.action("hi") == "hi"


async def test_a_typed_connection_before_its_block() -> None:
    with anyio.fail_after(GUARD):
        async with serving(greeting(1)) as url, client(url) as one:
            conn = one.get_for_id(Greeter, "a1").connect()
            welcome = conn.events(Greeter.welcome)
            async with conn as entered:
                assert entered is conn
                assert await welcome.receive() == 1
            with pytest.raises(ClosedError, match="is a handle"):
                async with one.get_for_id(Greeter, "a1"):
                    pass


async def test_a_greeting_comes_after_the_gap_that_a_reconnect_ends() -> None:
    async def talk(peer: Peer) -> None:
        if peer.number == 1:

            async def hang_up(peer: Peer) -> None:
                await peer.frame()  # the subscription

            await greeting(1, then=hang_up)(peer)
        else:
            await greeting(10, 11)(peer)

    with anyio.fail_after(GUARD):
        async with serving(talk) as url, client(url) as one:
            conn = connection(one)
            welcome = conn.events("welcome", gaps="mark")
            async with conn:
                got = [await welcome.receive() for _ in range(6)]
                gap = got.pop(2)
                assert isinstance(gap, Gap)
                assert got == [1, -1, 10, 11, -1]
                assert 0 < gap.since <= gap.until < float("inf")


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "drop_newest", "raise"])
async def test_a_long_greeting_and_a_short_buffer(overflow: Any) -> None:
    with anyio.fail_after(GUARD):
        async with serving(greeting(*range(100))) as url, client(url) as one:
            conn = connection(one)
            welcome = conn.events("welcome", buffer_size=3, overflow=overflow)
            async with conn:
                if overflow == "block":
                    for value in [*range(100), -1]:
                        assert welcome.buffered <= 3
                        assert await welcome.receive() == value
                    assert await conn.action("hi") == "hi"
                    return
                assert await conn.action("hi") == "hi"
                got = [await welcome.receive() for _ in range(3)]
                if overflow == "raise":
                    with pytest.raises(EventOverflowError):
                        await welcome.receive()
                else:
                    assert welcome.dropped == 98
                assert got == ([98, 99, -1] if overflow == "drop_oldest" else [0, 1, 2])


async def test_a_greeting_without_end() -> None:
    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        while True:
            await peer.send(event("welcome", 1) * 100)

    with anyio.fail_after(GUARD):
        async with serving(talk) as url, client(url) as one:
            conn = connection(one)
            welcome = conn.events("welcome")
            with pytest.raises(ProtocolError, match="4096 events or 64 MiB of them before Init"):
                async with conn:
                    pytest.fail("the body ran")
            with pytest.raises(ProtocolError, match="before Init"):
                await welcome.receive()


async def test_a_greeting_and_then_a_refusal() -> None:
    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        error = {"group": "user", "code": "no", "message": "", "actionId": None}
        refusal = text({"tag": "Error", "val": error}) + close(1011, "user.no")
        await peer.send(event("welcome", 1) + refusal)
        await peer.frame()

    with anyio.fail_after(GUARD):
        async with serving(talk) as url, client(url) as one:
            conn = connection(one)
            welcome = conn.events("welcome")
            with pytest.raises(ActorError, match=r"user\.no"):
                async with conn:
                    pytest.fail("the body ran")
            with pytest.raises(ActorError, match=r"user\.no"):
                await welcome.receive()


async def test_a_stream_before_the_block() -> None:
    subscribed: list[Any] = []

    async def talk(peer: Peer) -> None:
        await peer.open()
        subscribed.append(await peer.frame())
        await peer.send(event("e", 1))
        await peer.serve_actions()

    with anyio.fail_after(GUARD):
        async with serving(talk) as url, client(url) as one:
            conn = connection(one)
            kept, closed, forgotten = conn.events("e"), conn.events("f"), conn.events("g")
            statuses = conn.status_changes()
            for wait in (kept.receive, closed.receive, lambda: conn.next_event("e")):
                with pytest.raises(ClosedError, match="before 'async with' entered it"):
                    await wait()
            await closed.aclose()
            del forgotten
            async with conn:
                assert await kept.receive() == 1
                assert (await statuses.receive()).status is Status.CONNECTING
                assert (await statuses.receive()).status is Status.CONNECTED
                with pytest.raises(ClosedError):
                    await closed.receive()
            assert [item async for item in kept] == []
            with pytest.raises(ClosedError, match="after its block was left"):
                conn.events("e")
    assert len(subscribed) == 1
    assert b'"e"' in subscribed[0][1]


async def test_a_stream_before_a_block_that_is_cancelled_while_it_is_entered() -> None:
    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        await peer.send(event("e", 1))
        opened.set()
        await peer.silence()

    opened = anyio.Event()
    with anyio.fail_after(GUARD):
        async with serving(talk) as url, client(url) as one:
            conn = connection(one)
            stream = conn.events("e")
            async with anyio.create_task_group() as tasks:

                async def enter() -> None:
                    async with conn:
                        pytest.fail("the body ran")

                tasks.start_soon(enter)
                await opened.wait()
                tasks.cancel_scope.cancel()
            assert [item async for item in stream] == []


async def test_a_client_that_is_not_open_yet_leaves_the_connection_as_it_was() -> None:
    with anyio.fail_after(GUARD):
        async with serving(play_along) as url:
            one = client(url)
            conn = connection(one)
            stream = conn.events("e")
            with pytest.raises(ClosedError, match="the Client was used before"):
                async with conn:
                    pytest.fail("the body ran")
            async with one, conn, stream:
                assert await conn.action("hi") == "hi"
