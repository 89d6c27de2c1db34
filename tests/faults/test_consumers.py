"""Consumers that are ten times too slow, and a peer that reads nothing at all."""

from __future__ import annotations

import anyio
import pytest

from rivet_anyio import Client, EventOverflowError
from rivet_anyio.transport._outbox import HIGH_WATER

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
    with anyio.fail_after(30):
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
    with anyio.fail_after(30):
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


async def test_a_peer_that_stops_reading(client: Client, proxy: Proxy, key: list[str]) -> None:
    """Callers wait, little is held, calls can be cancelled, and the block can be left."""
    size, callers = 256 * 1024, 100
    settled = 0

    async def call(number: int) -> None:
        nonlocal settled
        await conn.echo("x" * size)
        settled += 1

    before = await held()
    with anyio.fail_after(30):
        async with client.probe.get_or_create(key).connect() as conn:
            conn_outbox = conn._outbox
            proxy.pause_after(0)
            async with anyio.create_task_group() as tasks:
                for number in range(callers):
                    tasks.start_soon(call, number)
                await proxy.until(lambda proxy: proxy.is_paused)
                # The kernel's buffers are full when the keepalive says so.
                changes = conn.status_changes()
                await changes.receive()
                assert sum(item.size for item in conn_outbox.items) <= HIGH_WATER + size + 100
                assert len(conn.in_flight) < callers
                assert settled == 0
                tasks.cancel_scope.cancel()
            assert conn_outbox.items == ()
            assert conn.in_flight == {}
            left_at = anyio.current_time()
        assert anyio.current_time() - left_at < 3
        proxy.resume()
        proxy.cut()
    left = await nothing_left_since(before)
    assert [what for what in left if "socket" not in what] == []
