"""`retry_for`: calls that ride through a server's death and through its restart."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest

from rivet_anyio import Client, Retry
from tests.faults.proxy import running_proxy
from tests.servers import Server

GUARD = 300
QUICK = Retry(initial=0.05, maximum=0.3)


@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("way", ["http", "websocket"])
async def test_through_a_restart(
    private_server: Server, key: list[str], end: str, way: str
) -> None:
    """Calls one after the other, so that one is under way at each moment of the restart."""
    back = anyio.Event()

    async def restart() -> None:
        down = private_server.kill_host if end == "kill" else private_server.stop
        await anyio.to_thread.run_sync(down)
        await anyio.to_thread.run_sync(private_server.start)
        back.set()

    with anyio.fail_after(GUARD):
        async with (
            Client(private_server.endpoint, retry=QUICK) as client,
            client.probe.get_or_create(key).connect() as conn,
            anyio.create_task_group() as tasks,
        ):
            act = (client.probe.get_or_create(key) if way == "http" else conn).action
            number = 0
            while not back.is_set():
                assert await act("slow", 100, number, retry_for=GUARD) == number
                if number == 2:
                    tasks.start_soon(restart)
                number += 1
            assert await act("slow", 1, -1, retry_for=GUARD) == -1


@pytest.mark.parametrize("way", ["http", "websocket"])
async def test_through_a_broken_network(server: Server, key: list[str], way: str) -> None:
    """Every call is cut off twice while it is under way."""
    with running_proxy(server.port) as proxy, anyio.fail_after(GUARD):
        async with (
            Client(proxy.endpoint, retry=QUICK) as client,
            client.probe.get_or_create(key).connect() as conn,
        ):
            act = (client.probe.get_or_create(key) if way == "http" else conn).action

            async def cut_twice() -> None:
                for reset in (False, True):
                    await anyio.sleep(0.2)
                    proxy.cut(reset=reset)

            for number in range(3):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cut_twice)
                    assert await act("slow", 500, number, retry_for=GUARD) == number
