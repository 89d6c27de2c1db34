"""Connections that wait for one server: when one of them reaches it, the others do not wait on."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import pytest

from rivet_anyio import Client, Connection, Retry, Status
from rivet_anyio._gateway.backoffs import Backoffs
from rivet_anyio.testing import Actor, ActorServer, virtual_backend

INITIAL = 0.25
SPREAD = 4 * INITIAL
"""Seconds over which those that need not wait on are spread."""
COUNT = 20


class Probe(Actor):
    async def echo(self, value: int) -> int:
        return value


ACTORS = {"probe": Probe}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


class Crowd:
    """Connections, and when they were connected."""

    def __init__(self) -> None:
        self.connected: dict[int, list[float]] = {}
        self._left = anyio.Event()
        self._changed = anyio.Event()

    async def stay(self, number: int, conn: Connection) -> None:
        """Stay connected, and note when, until the crowd leaves."""
        self.connected[number] = []
        async with conn, anyio.create_task_group() as tasks:
            tasks.start_soon(self._note, number, conn)
            await self._left.wait()
            tasks.cancel_scope.cancel()

    async def _note(self, number: int, conn: Connection) -> None:
        async for change in conn.status_changes():
            if change.status is Status.CONNECTED:
                self.connected[number].append(anyio.current_time())
                self._changed.set()

    async def all_connected(self, times: int) -> None:
        """Wait until each was connected so often."""
        while sum(len(one) >= times for one in self.connected.values()) < COUNT:
            self._changed = anyio.Event()
            await self._changed.wait()

    def leave(self) -> None:
        self._left.set()


def backoff(seed: int, **options: Any) -> Retry:
    return Retry(initial=INITIAL, maximum=30, random=Random(seed).random, **options)


def of(client: Client, key: object, retry: Retry, **options: Any) -> Connection:
    return client.probe.get_or_create(str(key)).connect(retry=retry, **options)


async def test_all_are_back_soon_after_the_first() -> None:
    crowd = Crowd()
    async with (
        ActorServer(ACTORS) as server,
        server.client() as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(COUNT):
            tasks.start_soon(crowd.stay, number, of(client, number, backoff(number)))
        await crowd.all_connected(1)
        with server.network.outage():
            await anyio.sleep(600)
        ended = anyio.current_time()
        with anyio.fail_after(60):
            await crowd.all_connected(2)
        back = sorted(times[1] for times in crowd.connected.values())
        crowd.leave()
    assert back[0] - ended <= 30
    assert back[-1] - back[0] <= SPREAD + 0.1
    assert len({round(at, 3) for at in back}) > COUNT // 2, "they do not come all at once"


async def test_a_wait_ends_early_once_until_the_next_init() -> None:
    """A server that takes few connections is not asked by all others at each of these."""
    waits: list[float] = []
    drawn = iter([1.0, 0.0, 1.0])
    retry = Retry(initial=8, maximum=64, random=lambda: next(drawn), sleep=noting(waits))
    async with ActorServer(ACTORS) as server, server.client() as client:
        server.faults.refuse_connects(2, key=["last"])
        last = of(client, "last", retry, wait_for_server=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reach_every_second, client)
            with anyio.fail_after(60):
                async with last:
                    assert waits == [8, 0, 16]
                    await anyio.sleep(5)
                    drawn = iter([0.0, 1.0, 0.0])
                    waits.clear()
                    changes = last.status_changes()
                    server.network.cut()
                    server.faults.refuse_connects(key=["last"])
                    while (await changes.receive()).status is not Status.DISCONNECTED:
                        pass
                    while (await changes.receive()).status is not Status.CONNECTED:
                        pass
                    assert waits == [0, 16, 0]
            tasks.cancel_scope.cancel()


async def reach_every_second(client: Client) -> None:
    while True:
        await anyio.sleep(1)
        async with client.probe.get_or_create("first").connect():
            pass


def noting(waits: list[float]) -> Callable[[float], Any]:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await anyio.sleep(seconds)

    return sleep


async def test_what_the_server_asked_for_is_waited() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        server.faults.refuse_connects(key=["last"], retry_after=9)
        last = client.probe.get_or_create("last")
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reach_every_second, client)
            async with last.connect(retry=backoff(1), wait_for_server=True):
                assert 9 <= anyio.current_time() - began <= 10
            tasks.cancel_scope.cancel()


async def test_clients_do_not_share_waits() -> None:
    waits: list[float] = []
    retry = Retry(initial=8, maximum=8, random=lambda: 1.0, sleep=noting(waits))
    async with ActorServer(ACTORS) as server, server.client() as client, server.client() as other:
        server.faults.refuse_connects(key=["last"])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reach_every_second, other)
            async with of(client, "last", retry, wait_for_server=True):
                assert waits == [8]
            tasks.cancel_scope.cancel()


async def test_leaving_ends_the_waits() -> None:
    """Those that end early, too."""
    async with ActorServer(ACTORS) as server, server.client() as client:
        server.faults.refuse_connects(2, key=["last"])
        retry = Retry(initial=8, maximum=8, random=lambda: 1.0)
        began = anyio.current_time()
        with anyio.move_on_after(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reach_every_second, client)
                async with of(client, "last", retry, wait_for_server=True):
                    raise AssertionError
        assert anyio.current_time() - began == pytest.approx(3)
        assert not client._core.backoffs._waits


async def test_a_wait_that_is_cancelled_is_forgotten() -> None:
    """Nobody may reach the server for days."""
    backoffs = Backoffs()
    with anyio.move_on_after(1) as scope:
        await backoffs.sleep(Retry(), 8)
    assert scope.cancelled_caught
    assert not backoffs._waits
