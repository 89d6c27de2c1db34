"""Everyday needs: health for probes, blocks that are left elsewhere, events that are too large."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest

from rivet_anyio import Connection, Feed, Health, TypedActor, health, watch
from rivet_anyio.testing import Actor, ActorServer


class Talker(Actor):
    async def say(self, size: int) -> None:
        self.context.broadcast("said", "x" * size)


class TypedTalker(TypedActor, name="talker"):
    async def say(self, size: int) -> None: ...


async def test_health() -> None:
    async with ActorServer({"talker": Talker}) as server, server.client() as client:
        handle = client.talker.get_or_create("k")
        late = handle.connect()
        assert health(late) == Health(False, 0, 1, None)
        async with handle.connect() as conn, late:
            assert health(conn, late) == Health(True, 2, 2, None)
            server.network.refuse(3)
            server.drop_connections()
            await _until_lost(conn)
            found = health(conn)
            assert (found.ready, found.connected, found.total) == (False, 0, 1)
            assert found.error is not None
            await conn.wait_connected()
            elsewhere = await anyio.to_thread.run_sync(lambda: health(conn))
            assert elsewhere == health(conn) == Health(True, 1, 1, None)
        assert not health(conn).ready
        typed = client.get_or_create(TypedTalker, "k")
        async with typed.connect() as typed_conn:
            assert health(typed_conn).ready
        for wrong in (handle, typed, None):
            with pytest.raises(TypeError, match="health takes connections and feeds"):
                health(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="at least one"):
            health()


async def test_health_of_feeds() -> None:
    with anyio.fail_after(60):
        await _health_of_feeds()


async def _health_of_feeds() -> None:
    async with ActorServer({"talker": Talker}) as server, server.client() as client:
        feed = watch("said")
        assert health(feed) == Health(False, 0, 1, None)
        async with feed, client.talker.get_or_create("k").connect() as conn:
            assert health(feed) == Health(True, 0, 0, None)
            for key in ("a", "b"):
                feed.add(client.talker.get_or_create(key))
            assert health(feed) == Health(False, 0, 2, None)
            await _until_ready(feed)
            assert health(feed, conn) == health(conn, feed) == Health(True, 3, 3, None)
            elsewhere = await anyio.to_thread.run_sync(lambda: health(feed))
            assert elsewhere == Health(True, 2, 2, None)
            server.network.refuse(1000)
            server.drop_connections(actor="talker", key="a")
            while (found := health(conn, feed)).error is None:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            assert (found.ready, found.connected, found.total) == (False, 2, 3)
            server.network.clear()
            await _until_ready(feed)
            feed.remove(("b",))
            assert health(feed) == Health(True, 1, 1, None)
            await feed.aclose()
            assert health(feed) == Health(False, 0, 1, None)
            assert health(conn, feed) == Health(False, 1, 2, None)


async def _until_ready(feed: Feed[Any]) -> None:
    while not health(feed).ready:  # noqa: ASYNC110
        await anyio.sleep(0.01)


async def _until_lost(conn: Connection) -> None:
    async for change in conn.status_changes():
        if change.status != "connected":
            return


async def test_event_that_is_too_large(caplog: pytest.LogCaptureFixture) -> None:
    """The log says what to do: the loss alone would look like the network."""
    caplog.set_level(logging.WARNING, "rivet_anyio")
    async with (
        ActorServer({"talker": Talker}) as server,
        server.client(max_message_size=1000) as client,
    ):
        handle = client.talker.get_or_create("k")
        async with handle.connect() as conn, conn.events("said") as said:
            await handle.say(2000)
            await _until_lost(conn)
            await conn.wait_connected()
            await said.subscribed()
            await handle.say(10)
            assert await said.receive() == "x" * 10
    (record,) = caplog.records
    assert record.getMessage() == (
        "actor 'talker' sent a message of more than 1000 bytes: raise max_message_size to accept "
        "it. Each such message ends the connection, and is lost"
    )


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_block_that_another_task_leaves(anyio_backend: str) -> None:
    """As in cells of a notebook: the connection is closed, and the error says what to do."""
    async with ActorServer({"talker": Talker}) as server, server.client() as client:
        conn = client.talker.get_or_create("k").connect()
        await asyncio.create_task(_enter(conn))
        await conn.say(1)
        with pytest.raises(RuntimeError, match=r"another task .* behind a portal"):
            await conn.__aexit__(None, None, None)
        assert conn.status == "closed"


async def _enter(conn: Any) -> None:
    await conn.__aenter__()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_call_between_cells(anyio_backend: str) -> None:
    """Where no event loop runs at the moment, as in IPython's cells without ``await``."""
    runner = asyncio.Runner()

    async def opened() -> Any:
        server = ActorServer({"talker": Talker})
        await server.__aenter__()
        client = await server.client().__aenter__()
        return server, client, await client.talker.get_or_create("k").connect().__aenter__()

    with runner:
        _, _, conn = runner.run(opened())
        with pytest.raises(RuntimeError, match="cells of a notebook without 'await'"):
            conn.events("said")
