"""Many sources at once: thirty in memory; by ``--crowd``, more, also on a real server.

``nox -s crowd`` runs a thousand. What it measures is printed with ``-s``.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import anyio
import anyio.to_thread
import pytest

from rivet_anyio import Client, Feed, Retry, SourceEvent, SourceGap, watch
from rivet_anyio.testing import ActorServer, Connected, virtual_backend
from tests.servers import start_server

from .actors import Slow

KIB_PER_SOURCE = 40
GUARD = 600


class Counted(Slow):
    """Its handshake takes 10 ms."""

    seconds = 0.01


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    number: int = request.config.getoption("--crowd") or 30
    return number


@pytest.fixture
def opening(request: pytest.FixtureRequest) -> int:
    return 32 if request.config.getoption("--crowd") else 8


@pytest.fixture
def real_count(request: pytest.FixtureRequest) -> int:
    number: int | None = request.config.getoption("--crowd")
    if number is None:
        pytest.skip("only with --crowd")
    return number


async def until_all_are_up(feed: Feed[Any], count: int) -> None:
    """Take the gap of each source, and one only."""
    keys: set[Any] = set()
    while len(keys) < count:
        item = await feed.receive()
        assert isinstance(item, SourceGap) and item.key not in keys, item
        keys.add(item.key)
    assert feed.statistics().connected == count


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "trio" and request.config.getoption("--crowd") is None:
        pytest.skip("only with --crowd: it takes seconds")
    return (
        virtual_backend(request.param)
        if "real_count" not in request.fixturenames
        else request.param
    )


def kib_of_this_process() -> int:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4


async def test_a_crowd_on_a_real_server(real_count: int, opening: int) -> None:
    """It stands first: what a test before it has freed would be used again, and not measured."""
    with start_server("2.2.1") as server, anyio.fail_after(GUARD):
        async with (
            Client(server.endpoint, retry=Retry(maximum=5)) as client,
            watch("newCount", opening=opening) as feed,
        ):
            for number in range(100):  # what is made once is made
                feed.add(client.counter.get_or_create(["warm", str(number)]))
            for _ in range(100):
                await feed.receive()
            for number in range(100):
                feed.remove(("warm", str(number)))
            await anyio.sleep(1)
            before, began = kib_of_this_process(), time.monotonic()
            for number in range(real_count):
                feed.add(client.counter.get_or_create(["crowd", str(number)]), key=number)
            most = feed.statistics().handshakes
            await until_all_are_up(feed, real_count)
            up = time.monotonic() - began
            kib = (kib_of_this_process() - before) / real_count
            print(f"{real_count} sources: up in {up:.1f} s, {kib:.1f} KiB each")

            begun = time.monotonic()
            async with anyio.create_task_group() as tasks:

                async def restart() -> None:
                    await anyio.to_thread.run_sync(server.stop)
                    await anyio.to_thread.run_sync(server.start)

                tasks.start_soon(restart)
                await until_all_are_up(feed, real_count)
            print(f"a restart: {time.monotonic() - begun:.1f} s until all are back")
            for number in range(real_count):
                await client.counter.get(["crowd", str(number)]).setCount(number)
            for _ in range(real_count):
                item = await feed.receive()
                assert isinstance(item, SourceEvent) and item.key == item.value
            leaving = time.monotonic()
        print(f"left in {time.monotonic() - leaving:.2f} s")
        assert most <= opening
        assert 1 < kib <= KIB_PER_SOURCE


async def test_a_crowd_in_memory(count: int, opening: int) -> None:
    Counted.most = Counted.begun = 0
    async with (
        ActorServer({"ticker": Counted}, unused_faults="ignore") as server,
        server.client() as client,
        watch("tick", opening=opening) as feed,
    ):
        began = anyio.current_time()
        for number in range(count):
            feed.add(client.ticker.get_or_create(str(number)), key=number)
        await until_all_are_up(feed, count)
        print(f"{count} sources are up after {anyio.current_time() - began:.2f} virtual seconds")
        assert Counted.begun == count and Counted.most == opening

        await server.restart(downtime=5)
        Counted.most = 0
        await until_all_are_up(feed, count)
        assert 0 < Counted.most <= opening  # by how many at once depends on the jitter
        times = [record.at for record in server.log.of(Connected)[count:]]
        assert len(set(times)) >= count / opening
        assert max(times) - min(times) > 0.1, "they came all at once"

        await anyio.sleep(3)  # so that they were healthy
        server.drop_connections()
        dropped_at = anyio.current_time()
        await until_all_are_up(feed, count)
        times = [record.at for record in server.log.of(Connected)[2 * count :]]
        # At most 0.25 s of jitter, and the handshakes of all, so many at a time.
        assert max(times) <= dropped_at + 0.25 + 0.01 * (count / opening + 1) + 0.001
        for number in range(count):
            server.actor("ticker", str(number)).context.broadcast("tick", number)
        assert {item.key for item in [await feed.receive() for _ in range(count)]} == set(
            range(count)
        )
