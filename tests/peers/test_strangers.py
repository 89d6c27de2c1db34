"""asyncio lets anybody cancel a task: when it is one of ours, the user's block is not cancelled."""

import asyncio

import anyio
import pytest

from rivet_anyio import ConnectionLostError
from rivet_anyio.testing import Actor, ActorServer

SECONDS = 60
TASKS = ("Link._supervise", "WebSocketConnection._listen", "ActorChecks._lead_by.<locals>.lead")


class Probe(Actor):
    async def echo(self, value: int) -> int:
        return value


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("ended", TASKS)
async def test_a_task_of_a_connection_is_cancelled(ended: str) -> None:
    with anyio.fail_after(SECONDS):
        async with ActorServer({"probe": Probe}) as server, server.client() as client:
            probe = client.probe.get_or_create("p")
            try:
                async with probe.connect() as conn:
                    assert await conn.echo(1) == 1
                    (task,) = (t for t in asyncio.all_tasks() if t.get_name().endswith(ended))
                    task.cancel()
                    await asyncio.wait([task])
                    assert await conn.echo(2) == 2  # the connection comes back, if it has to
            except ConnectionLostError:
                assert ended != TASKS[2]  # which is only for whether the actor's host lives
            assert await probe.echo(3) == 3
