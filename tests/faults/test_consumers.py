"""Consumers that are ten times too slow, and a peer that reads nothing at all."""

from __future__ import annotations

import anyio
import pytest

from rivet_anyio import Client, EventOverflowError
from rivet_anyio._websocket.outbox import HIGH_WATER

from .leftovers import held, nothing_left_since
from .proxy import Proxy

EMITTED = 2000
BATCH = 10
BUFFER = 50


async def _emit_all(direct: Client, key: list[str], batches: anyio.Semaphore) -> None:
    probe = direct.probe.get_or_create(key)
    for start in range(0, EMITTED, BATCH):
        await probe.emitMany("n", BATCH, start)
        batches.release()


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "block"])
async def test_a_slow_consumer_knows_what_it_missed(
    client: Client, direct: Client, key: list[str], overflow: str
) -> None:
    got: list[int] = []
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            events = conn.events("n", type=int, buffer_size=BUFFER, overflow=overflow)  # type: ignore[call-overload]
            assert await conn.echo(1) == 1
            batches = anyio.Semaphore(0)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_emit_all, direct, key, batches)
                for _ in range(EMITTED // BATCH):
                    await batches.acquire()
                    got.append(await events.receive())
            assert events.buffered <= BUFFER + 1
            if overflow == "block":
                got += [await events.receive() for _ in range(EMITTED - len(got))]
            else:
                # What was emitted before comes before the answer.
                assert await conn.echo(2) == 2
                got += [await events.receive() for _ in range(events.buffered)]
            assert events.buffered == 0
            assert got == sorted(set(got))
            assert len(got) + events.dropped == EMITTED
            if overflow == "block":
                assert events.dropped == 0
            elif overflow == "drop_oldest":
                assert got[-BUFFER:] == list(range(EMITTED - BUFFER, EMITTED))
            else:
                assert got[:BUFFER] == list(range(BUFFER))
            assert events.gaps == 0


async def test_a_slow_consumer_is_told_to_stop(
    client: Client, direct: Client, key: list[str]
) -> None:
    got: list[int] = []
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            events = conn.events("n", type=int, buffer_size=BUFFER)
            assert await conn.echo(1) == 1
            batches = anyio.Semaphore(0)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_emit_all, direct, key, batches)
                with pytest.raises(EventOverflowError):
                    while True:
                        await batches.acquire()
                        got.append(await events.receive())
                with pytest.raises(EventOverflowError):
                    await events.receive()
            assert len(got) >= BUFFER
            assert got == list(range(len(got)))
            assert events.dropped == 1
            # The others on the connection do not suffer.
            assert await conn.echo(2) == 2


async def test_a_peer_that_stops_reading(proxy: Proxy, key: list[str]) -> None:
    """Callers wait, little is held, calls can be cancelled, and the block can be left."""
    size, callers = 256 * 1024, 100
    settled = 0

    async def call() -> None:
        nonlocal settled
        await conn.echo("x" * size)
        settled += 1

    before = await held()
    with anyio.fail_after(60):
        async with Client(
            proxy.endpoint, metadata_lookup=False, close_timeout=1.0, ping_interval=None
        ) as client:
            async with client.probe.get_or_create(key).connect() as conn:
                proxy.pause_after(0)
                async with anyio.create_task_group() as tasks:
                    for _ in range(callers):
                        tasks.start_soon(call)
                    await proxy.until(lambda proxy: proxy.is_paused)
                    # Once nobody can go on, all buffers of the kernel are full.
                    await anyio.wait_all_tasks_blocked()
                    waiting = conn._link.state.outbox.items
                    assert 0 < sum(item.size for item in waiting) < HIGH_WATER + size + 100
                    assert 0 < len(conn._link.state.in_flight) < callers / 2
                    assert settled == 0
                    tasks.cancel_scope.cancel()
                assert conn._link.state.outbox.items == ()
                assert conn._link.state.in_flight == {}
                left_at = anyio.current_time()
            assert 0.9 < anyio.current_time() - left_at < 20
        proxy.resume()
        proxy.cut()
    assert await nothing_left_since(before) == []
