"""Peers that fall silent, and consumers that only look like it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest

from rivet_anyio import Client, ConnectionLostError, Retry, Status
from tests.faults.proxy import Proxy
from tests.servers import Server

from .injection import undisturbed

PING_INTERVAL = 0.2
PING_TIMEOUT = 2.0
"""Long enough for a busy machine to answer."""


@pytest.fixture
async def quick(proxy: Proxy) -> AsyncGenerator[Client]:
    """A client with little patience."""
    async with Client(
        proxy.endpoint,
        metadata_lookup=False,
        retry=Retry(initial=0.05, maximum=0.2),
        connect_timeout=10.0,
        ping_interval=PING_INTERVAL,
        ping_timeout=PING_TIMEOUT,
    ) as client:
        yield client


@pytest.fixture
async def hasty(proxy: Proxy) -> AsyncGenerator[Client]:
    """A client that notices no silence, and that nothing keeps long when it leaves."""
    async with Client(
        proxy.endpoint, metadata_lookup=False, close_timeout=0.5, ping_interval=None
    ) as client:
        yield client


async def test_silence_is_noticed(quick: Client, proxy: Proxy, key: list[str]) -> None:
    with anyio.fail_after(60), undisturbed():
        async with quick.probe.get_or_create(key).connect() as conn:
            changes = conn.status_changes()
            before = anyio.current_time()
            proxy.stall()
            with pytest.raises(ConnectionLostError):
                await conn.echo("into the void")
            assert PING_TIMEOUT <= anyio.current_time() - before < 15
            proxy.go_on()
            assert await conn.echo("again") == "again"
            assert (await changes.receive()).status is Status.CONNECTED
            assert (await changes.receive()).status is Status.DISCONNECTED


async def test_silence_of_a_websocket_is_noticed(
    quick: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60), undisturbed():
        async with quick.web.get_or_create(key).websocket() as ws:
            await ws.receive()
            proxy.stall()
            with pytest.raises(ConnectionLostError):
                await ws.receive()


async def test_a_quiet_peer_that_answers_pings_is_kept(
    quick: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60):
        async with quick.probe.get_or_create(key).connect() as conn:
            first = conn.connection_id
            # Pings alone make the proxy see bytes; a peer that does not answer has less time.
            seen, until = proxy.upstream_bytes, anyio.current_time() + PING_INTERVAL + PING_TIMEOUT
            await proxy.until(
                lambda proxy: (
                    proxy.upstream_bytes >= seen + 30 and anyio.current_time() > until + 0.2
                )
            )
            assert conn.connection_id == first
            assert conn.status is Status.CONNECTED


async def test_a_paused_consumer_is_no_dead_peer(
    quick: Client, direct: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60), undisturbed():
        async with quick.probe.get_or_create(key).connect() as conn:
            first = conn.connection_id
            events = conn.events("n", buffer_size=4, overflow="block")
            await conn.echo("the subscription is there")
            await direct.probe.get_or_create(key).emitMany("n", 100)
            assert await events.receive() == 0
            # Nothing else shows that this much time has passed.
            await anyio.sleep(1.5 * (PING_INTERVAL + PING_TIMEOUT))
            assert events.buffered <= 5
            assert [await events.receive() for _ in range(99)] == list(range(1, 100))
            assert conn.connection_id == first
            assert events.dropped == 0


@pytest.mark.parametrize("kind", ["connection", "websocket"])
async def test_leaving_a_stalled_peer_is_bounded(
    hasty: Client, proxy: Proxy, key: list[str], kind: str
) -> None:
    handle = hasty.probe if kind == "connection" else hasty.web
    actor = handle.get_or_create(key)
    with anyio.fail_after(60), undisturbed():
        async with actor.connect() if kind == "connection" else actor.websocket():
            proxy.stall()
            before = anyio.current_time()
        assert 0.4 < anyio.current_time() - before < 15


async def test_leaving_is_bounded_when_not_even_writing_goes_on(
    hasty: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60), undisturbed():
        with pytest.raises(ValueError):
            async with hasty.probe.get_or_create(key).connect() as conn:
                proxy.pause_after(100_000)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(conn.action, "echo", "x" * 16 * 1024 * 1024)
                    await proxy.until(lambda proxy: proxy.upstream_bytes >= 100_000)
                    tasks.cancel_scope.cancel()
                before = anyio.current_time()
                raise ValueError
        assert anyio.current_time() - before < 15


async def test_cancelled_in_mid_write(client: Client, proxy: Proxy, key: list[str]) -> None:
    async with client.probe.get_or_create(key).connect() as conn:
        with anyio.fail_after(60):
            first = conn.connection_id
            for _ in range(3):
                start = proxy.upstream_bytes
                proxy.pause_after(100_000)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(conn.action, "echo", "x" * 4 * 1024 * 1024)
                    await proxy.until(lambda proxy: proxy.is_paused)
                    tasks.cancel_scope.cancel()
                assert proxy.upstream_bytes < start + 4 * 1024 * 1024
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(conn.action, "echo", "y" * 300_000)
                    tasks.start_soon(conn.action, "echo", "z")
                    await anyio.wait_all_tasks_blocked()
                    proxy.resume()
                assert await conn.echo("next") == "next"
            assert conn.connection_id == first


@pytest.mark.parametrize("ending", ["resumed", "cut"])
async def test_a_message_cancelled_in_mid_write(
    client: Client, server: Server, proxy: Proxy, key: list[str], ending: str
) -> None:
    """It goes whole or not at all, and nothing behind it claims to have been sent meanwhile."""
    mebibytes = 16 if server.version.startswith("2.3.") else 32  # 2.3 has a limit of 20
    large = bytes(range(256)) * (mebibytes * 4096)
    sent: list[str] = []
    with anyio.fail_after(60):
        actor = client.web.get_or_create(key)
        async with actor.websocket(max_message_size=len(large)) as ws:
            await ws.receive()

            async def send(name: str, data: str | bytes) -> None:
                try:
                    await ws.send(data)
                    sent.append(name)
                except ConnectionLostError:
                    sent.append(f"{name} lost")

            proxy.pause_after(100_000)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, "large", large)
                await proxy.until(lambda proxy: proxy.is_paused)
                tasks.cancel_scope.cancel()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, "small", "small")
                await anyio.wait_all_tasks_blocked()
                assert sent == []
                if ending == "cut":
                    proxy.cut(reset=True)
                proxy.resume()
            if ending == "cut":
                assert sent == ["small lost"]
                with pytest.raises(ConnectionLostError):
                    await ws.receive()
            else:
                assert sent == ["small"]
                assert await ws.receive() == large
                assert await ws.receive() == "small"


async def test_a_blocked_block_is_left_at_once(
    client: Client, direct: Client, key: list[str]
) -> None:
    with anyio.fail_after(60), undisturbed():
        async with client.probe.get_or_create(key).connect(close_timeout=30) as conn:
            events = conn.events("n", buffer_size=1, overflow="block")
            await conn.echo("the subscription is there")
            await direct.probe.get_or_create(key).emitMany("n", 1000)
            assert await events.receive() == 0
            before = anyio.current_time()
        assert anyio.current_time() - before < 15
