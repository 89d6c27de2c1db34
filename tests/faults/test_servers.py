"""Servers that are killed, restarted or away for long, and a hundred connections through it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import anyio
import pytest

from rivet_anyio import Client, Connection, ConnectionLostError, Gap, Retry, Status
from tests.servers import VERSIONS, Server, start_server

from .proxy import Proxy
from .stage import stage
from .workload import Workload

CONNECTIONS = 100


@pytest.fixture(scope="module", params=VERSIONS)
def mortal(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that a test may kill."""
    with start_server(request.param) as server:
        yield server


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that a test may stop and start."""
    with start_server("2.2.1") as server:
        yield server


async def test_a_server_that_is_killed_in_the_middle_of_everything(
    mortal: Server, key: list[str], anyio_backend_name: str, pytestconfig: pytest.Config
) -> None:
    slow_to_start = mortal.version.startswith("2.3.")
    if slow_to_start and anyio_backend_name != "trio" and not pytestconfig.getoption("--all-kills"):
        pytest.skip("half a minute of waiting: once is enough")

    async def kill(proxy: Proxy, workload: Workload) -> None:
        for _ in range(1 if slow_to_start else 3):
            for _ in range(5):
                await workload.progress()
            await anyio.to_thread.run_sync(mortal.kill)
            await anyio.to_thread.run_sync(mortal.start)
            await workload.progress()

    with anyio.fail_after(100):
        async with stage(mortal) as on:
            found, report = await on.play(key, random.Random(5), kill)
    assert not found, "\n".join(found)
    assert report["lost"] >= 1
    assert report["connections"] == 1


async def test_a_server_that_is_away_for_long(client: Client, proxy: Proxy, key: list[str]) -> None:
    with anyio.fail_after(30):
        async with client.ledger.get_or_create(key).connect() as conn:
            changes = conn.status_changes()
            events = conn.events("appended", gaps="mark")
            proxy.refuse()
            proxy.cut()
            attempts = 0
            while attempts < 100:
                attempts += (await changes.receive()).status is Status.CONNECTING
            proxy.accept()
            assert await conn.append(1) == 1
            gap = await events.receive()
            assert isinstance(gap, Gap)
            assert gap.attempts >= 100
            assert await events.receive() == (1, 1)


async def _all_come_back(client: Client, key: list[str], trouble: Callable[[], object]) -> None:
    """Many connections to a few actors, all of which are lost at once."""
    came_back = 0
    connected = 0
    ready, troubled = anyio.Event(), anyio.Event()

    async def live(number: int) -> None:
        nonlocal came_back, connected
        handle = client.ledger.get_or_create([*key, str(number % 10)])
        async with handle.connect() as conn:
            events = conn.events("appended", gaps="mark")
            await _append(conn, number)
            connected += 1
            if connected == CONNECTIONS:
                ready.set()
            await troubled.wait()
            await conn.wait_connected()
            await _append(conn, number + CONNECTIONS)
            async for event in events:
                if isinstance(event, Gap):
                    break
            async for event in events:
                if not isinstance(event, Gap) and event[0] == number + CONNECTIONS:
                    break
            came_back += 1

    async with anyio.create_task_group() as tasks:
        for number in range(CONNECTIONS):
            tasks.start_soon(live, number)
        await ready.wait()
        await anyio.to_thread.run_sync(trouble)
        troubled.set()
    assert came_back == CONNECTIONS


def _patient(endpoint: str) -> Client:
    """A client that lets a hundred others go first."""
    retry = Retry(initial=0.02, maximum=0.1)
    return Client(endpoint, metadata_lookup=False, retry=retry)


async def _append(conn: Connection, number: int) -> None:
    """Append; a number may be there twice, because what was lost may have run."""
    while True:
        try:
            await conn.append(number)
            return
        except ConnectionLostError:
            await conn.wait_connected()


async def test_a_hundred_connections_through_a_cut(proxy: Proxy, key: list[str]) -> None:
    with anyio.fail_after(60):
        async with _patient(proxy.endpoint) as client:
            await _all_come_back(client, key, lambda: proxy.cut(reset=True))


async def test_a_hundred_connections_through_a_restart(own_server: Server, key: list[str]) -> None:
    def restart() -> None:
        own_server.stop()
        own_server.start()

    with anyio.fail_after(60):
        async with _patient(own_server.endpoint) as client:
            await _all_come_back(client, key, restart)
