"""Connections: events, status, refusals, kicks, servers that restart."""

from __future__ import annotations

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ClosedError,
    ConnectError,
    ConnectionLostError,
    Gap,
    Retry,
    Status,
)
from rivet_anyio.protocol.codec import Encoding
from tests.servers import Server

QUICK = Retry(initial=0.05, maximum=0.3)


async def test_events_in_order_with_actions(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    async with handle.connect() as conn:
        numbers = conn.events("numbers", type=int)
        await conn.emitMany("numbers", 200)
        assert [await numbers.receive() for _ in range(200)] == list(range(200))
        shapes = conn.events("shapes")
        await conn.emit("shapes")
        await conn.emit("shapes", "one")
        await conn.emit("shapes", "one", 2)
        await conn.emit("shapes", ["a", "list"])
        got = [await shapes.receive() for _ in range(4)]
        assert got == [(), "one", ("one", 2), ["a", "list"]]


async def test_concurrent_actions(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    results: dict[int, object] = {}

    async with handle.connect() as conn:

        async def call(n: int) -> None:
            # 2.1 and 2.2 run one after the other.
            results[n] = await conn.slow((50 - n) // 5, n)

        async with anyio.create_task_group() as tasks:
            for n in range(50):
                tasks.start_soon(call, n)
    assert results == {n: n for n in range(50)}


async def test_ids_and_status(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    connection = handle.connect()
    assert connection.connection_id is None
    async with connection as conn:
        assert conn.status is Status.CONNECTED
        assert conn.actor_id == await handle.resolve()
        assert conn.connection_id == await conn.connId()
        await conn.wait_connected()
        changes = conn.status_changes()
        assert (await changes.receive()).status is Status.CONNECTED
    assert [change.status async for change in changes] == [Status.CLOSED]
    assert connection.status is Status.CLOSED
    with pytest.raises(ClosedError):
        await connection.echo(1)


async def test_subscriptions_are_counted(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    async with handle.connect() as conn:
        first, second = conn.events("e"), conn.events("e")
        await conn.emit("e", 1)
        assert (await first.receive(), await second.receive()) == (1, 1)
        await first.aclose()
        await conn.emit("e", 2)
        assert await second.receive() == 2
        await second.aclose()
        await conn.emit("e", 3)
        third = conn.events("e")
        await conn.emit("e", 4)
        assert await third.receive() == 4


async def test_next_event(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    async with handle.connect() as conn, anyio.create_task_group() as tasks:

        async def emit_until_heard() -> None:
            while True:
                await conn.emit("soon", 5)

        tasks.start_soon(emit_until_heard)
        with anyio.fail_after(60):
            assert await conn.next_event("soon", int) == 5
        tasks.cancel_scope.cancel()


async def test_events_from_another_connection(client: Client, key: list[str]) -> None:
    handle = client.chatRoom.get_or_create(key, params={"name": "Zoë"})
    async with handle.connect() as one, handle.connect() as other:
        heard = other.events("message")
        assert await other.getHistory() == []
        await one.sendMessage("hi")
        assert await heard.receive() == {"sender": "Zoë", "text": "hi"}


async def test_refusal(client: Client, server: Server, key: list[str]) -> None:
    handle = client.guarded.get_or_create(key)
    with pytest.raises(ActorError) as caught:
        async with handle.connect(params={"token": "wrong"}):
            pytest.fail("let in with a wrong token")
    assert caught.value.code == "forbidden"
    if server.version >= "2.3":
        assert caught.value.group == "user"
        assert caught.value.metadata == {"need": "secret"}
    with pytest.raises(ActorError) as caught:
        await handle.me()
    assert (caught.value.group, caught.value.code) == ("user", "forbidden")
    async with handle.connect(params={"token": "secret", "user": "u"}) as conn:
        assert (await conn.me())["state"] == {"user": "u"}


async def test_get_params_for_every_attempt(
    server: Server, encoding: Encoding, key: list[str]
) -> None:
    count = 0

    async def get_params() -> dict[str, object]:
        nonlocal count
        count += 1
        return {"token": "secret", "user": count}

    async with Client(server.endpoint, encoding=encoding, retry=QUICK) as client:
        handle = client.probe.get_or_create(key, get_params=get_params)
        async with handle.connect() as conn:
            assert (await conn.connParams())["user"] == 1
            changes = conn.status_changes()
            await client.probe.get(key).kickAll("out")
            with anyio.fail_after(60):
                seen = [await changes.receive()]
                while len(seen) == 1 or seen[-1].status is not Status.CONNECTED:
                    seen.append(await changes.receive())
            attempts = sum(change.status is Status.CONNECTING for change in seen)
            assert (await conn.connParams())["user"] == count == 1 + attempts > 1


async def test_kick_reconnects(server: Server, encoding: Encoding, key: list[str]) -> None:
    async with Client(server.endpoint, encoding=encoding, retry=QUICK) as client:
        handle = client.probe.get_or_create(key)
        async with handle.connect() as conn:
            before = conn.connection_id
            events = conn.events("after", gaps="mark")
            changes = conn.status_changes()
            await changes.receive()
            await handle.kickAll("maintenance")
            with anyio.fail_after(60):
                lost = await changes.receive()
                assert lost.status is Status.DISCONNECTED
                assert "maintenance" in str(lost.error)
                await conn.wait_connected()
                assert conn.connection_id != before
                await conn.emit("after", 1)
                assert isinstance(await events.receive(), Gap)
                assert await events.receive() == 1
            assert events.gaps == 1


@pytest.mark.parametrize("end", ["sleepNow", "destroy"])
async def test_an_actor_that_stops_under_its_connection(
    client: Client, key: list[str], end: str
) -> None:
    """2.2 keeps the connection open, and nobody is behind it."""
    handle = client.probe.get_or_create(key)
    with anyio.fail_after(60):
        async with handle.connect() as conn:
            assert await conn.echo(0) == 0
            events = conn.events("tick")
            # A RivetKit 2.1 or 2.2 ends when a subscription reaches an actor that has stopped.
            await events.subscribed()
            await handle.action(end)
            heard: list[object] = []
            while heard[-2:] != ["after", "after"]:
                # The actor stops when it likes: what is called before may be lost with it.
                try:
                    await conn.emit("tick", "after")
                except (ActorError, ConnectionLostError):
                    continue
                with anyio.move_on_after(2):
                    heard.append(await events.receive())


async def test_broken_hook(client: Client, key: list[str]) -> None:
    with pytest.raises(ActorError) as caught, anyio.fail_after(60):
        async with client.flaky.get_or_create(key).connect():
            pytest.fail("the hook throws")
    assert caught.value.code == "internal_error"


async def test_server_restart(encoding: Encoding, private_server: Server, key: list[str]) -> None:
    server = private_server
    async with Client(server.endpoint, encoding=encoding, retry=QUICK) as client:
        handle = client.counter.get_or_create(key)
        async with handle.connect() as conn:
            counts = conn.events("newCount", type=int, gaps="mark")
            assert await conn.increment() == 1
            assert await counts.receive() == 1
            changes = conn.status_changes()
            await changes.receive()
            await anyio.to_thread.run_sync(server.stop)
            with anyio.fail_after(100):
                assert (await changes.receive()).status is Status.DISCONNECTED
                await anyio.to_thread.run_sync(server.start)
                await conn.wait_connected()
                assert await conn.increment() >= 1
                assert isinstance(await counts.receive(), Gap)
                assert isinstance(await counts.receive(), int)


async def test_nobody_there() -> None:
    async with Client("http://127.0.0.1:9") as client:
        with pytest.raises(ConnectError):
            await client.counter.get("x").getCount()
        with pytest.raises(ConnectError):
            async with client.counter.get("x").connect():
                pytest.fail("nobody is there")
