"""`wait_for_server`: a connection that is entered before its server is there."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest

from rivet_anyio import Client, ConnectError, Retry, Status
from tests.servers import CHECKED, Server, start_server
from tests.servers._ports import reserve_port

GUARD = 240
QUICK = Retry(initial=0.05, maximum=0.3)


@pytest.mark.parametrize("version", CHECKED)
async def test_a_server_that_is_started_later(version: str) -> None:
    with reserve_port() as port, anyio.fail_after(GUARD):
        servers: list[Server] = []

        async def start() -> None:
            servers.append(
                await anyio.to_thread.run_sync(lambda: start_server(version, port=port.number))
            )

        try:
            async with (
                Client(f"http://127.0.0.1:{port.number}", retry=QUICK) as client,
                anyio.create_task_group() as tasks,
            ):
                conn = client.counter.get_or_create("early").connect(wait_for_server=True)
                changes = conn.status_changes()
                tasks.start_soon(start)
                async with conn:
                    assert await conn.increment() == 1
                    seen = [await changes.receive() for _ in range(2)]
                assert [change.status for change in seen] == [
                    Status.CONNECTING,
                    Status.DISCONNECTED,
                ]
                assert isinstance(seen[1].error, ConnectError)
        finally:
            for server in servers:
                await anyio.to_thread.run_sync(server.close)


async def test_an_engine_without_a_runner() -> None:
    """The gateway answers, and says that no host is there for the actor."""
    with start_server("2.3.19") as server, anyio.fail_after(GUARD):
        await anyio.to_thread.run_sync(server.kill_host)
        async with (
            Client(server.endpoint, retry=QUICK) as client,
            anyio.create_task_group() as tasks,
        ):
            conn = client.counter.get_or_create("early").connect(wait_for_server=True)
            changes = conn.status_changes()

            async def start_after_failures() -> None:
                failures = 0
                async for change in changes:
                    failures += change.status is Status.DISCONNECTED
                    if failures == 2:
                        break
                await anyio.to_thread.run_sync(server.start)

            tasks.start_soon(start_after_failures)
            async with conn:
                assert await conn.increment() == 1
