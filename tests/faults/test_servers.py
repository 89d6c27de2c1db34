"""Servers that are killed, restarted or away for long, and a hundred connections through it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import anyio
import pytest

from rivet_anyio import Client, Connection, ConnectionLostError, Gap, Retry, Status
from tests.servers import CHECKED, Server, start_server

from .proxy import Proxy, running_proxy
from .stage import stage
from .workload import Workload

CONNECTIONS = 100
ATTEMPTS = 100
RETRY = Retry(initial=0.2, maximum=1.0)


@pytest.fixture(scope="module", params=CHECKED)
def mortal(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that a test may kill."""
    with start_server(request.param) as server:
        yield server


async def test_a_server_that_is_killed_in_the_middle_of_everything(
    mortal: Server, key: list[str], pytestconfig: pytest.Config
) -> None:
    slow_to_start = mortal.version.startswith("2.3.")
    if slow_to_start and not pytestconfig.getoption("--all-kills"):
        pytest.skip("takes half a minute of waiting: see --all-kills")

    async def kill(proxy: Proxy, workload: Workload) -> None:
        async with on.client.ledger.get_or_create([*key, "slow"]).connect() as conn:
            for number in range(1 if slow_to_start else 3):
                # The workload's own connection may be back before this one is.
                await conn.wait_connected()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_lose, conn, number)
                    for _ in range(5):
                        await workload.progress()
                    # It may still be on its way back from the last time.
                    while not conn._link.state.in_flight:
                        await workload.progress()
                    await anyio.to_thread.run_sync(mortal.kill)
                    await anyio.to_thread.run_sync(mortal.start)
                await workload.progress()

    with anyio.fail_after(100):
        # What is silent for a moment is busy here: the server says that it is gone.
        async with stage(mortal, notices_silence=False) as on:
            found, report = await on.play(key, random.Random(5), kill)
            assert await on.direct.ledger.get_or_create([*key, "slow"]).log() == []
    assert not found, "\n".join(found)
    assert report["connections"] == 1


async def _lose(conn: Connection, number: int) -> None:
    with pytest.raises(ConnectionLostError):
        await conn.appendSlow(number, 60_000)


async def test_a_server_that_is_away_for_long(client: Client, proxy: Proxy, key: list[str]) -> None:
    with anyio.fail_after(60):
        handle = client.ledger.get_or_create(key)
        async with handle.connect(retry=Retry(initial=0.005, maximum=0.01)) as conn:
            changes = conn.status_changes()
            events = conn.events("appended", gaps="mark")
            proxy.refuse()
            proxy.cut()
            attempts = 0
            while attempts < ATTEMPTS:
                attempts += (await changes.receive()).status is Status.CONNECTING
            proxy.accept()
            assert await conn.append(1) == 1
            gap = await events.receive()
            assert isinstance(gap, Gap)
            assert gap.attempts >= ATTEMPTS
            assert await events.receive() == (1, 1)


@pytest.mark.parametrize("mortal", ["2.2.1"], indirect=True)
async def test_a_hundred_connections(mortal: Server, key: list[str]) -> None:
    """All come back, whether they are cut off or the server starts anew."""
    ready = anyio.Semaphore(0)
    troubled = [anyio.Event(), anyio.Event()]

    async def live(client: Client, number: int) -> None:
        # Some of them meet in one actor.
        handle = client.counter.get_or_create([*key, str(number % 10)])
        async with handle.connect() as conn:
            events = conn.events("newCount", gaps="mark")
            for trouble in troubled:
                await _increment(conn)
                ready.release()
                await trouble.wait()
                while not isinstance(await events.receive(), Gap):
                    pass
            mine = await _increment(conn)
            async for event in events:
                if event == mine:
                    break
            assert events.gaps == len(troubled)

    def restart() -> None:
        mortal.stop()
        mortal.start()

    with anyio.fail_after(100), running_proxy(mortal.port) as proxy:
        async with (
            Client(proxy.endpoint, metadata_lookup=False, retry=RETRY) as client,
            anyio.create_task_group() as tasks,
        ):
            for number in range(CONNECTIONS):
                tasks.start_soon(live, client, number)
            await _await_all(ready)
            proxy.cut(reset=True)
            troubled[0].set()
            await _await_all(ready)
            await anyio.to_thread.run_sync(restart)
            troubled[1].set()


async def _await_all(ready: anyio.Semaphore) -> None:
    for _ in range(CONNECTIONS):
        await ready.acquire()


async def _increment(conn: Connection) -> int:
    """Count; once more where that was lost."""
    while True:
        try:
            return await conn.action("increment", type=int)
        except ConnectionLostError:
            await conn.wait_connected()
