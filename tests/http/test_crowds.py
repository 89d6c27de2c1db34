"""Many calls under few descriptors, and many connections that come back at once."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from anyio import CancelScope
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

from rivet_anyio import Client, Connection, Retry
from tests.peers.raw import Peer

from .wire import GUARD, RIGHT, Wire, ask, prepare, using

resource = pytest.importorskip("resource", reason="Windows has no limit of descriptors")

CALLS = 3000
DESCRIPTORS = 1000
CONNECTIONS = 300


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


async def call_under_few_descriptors(url: str) -> None:
    """Print what all calls returned."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    results: list[str] = []
    async with (
        Client(url, encoding="json", metadata_lookup=False) as client,
        anyio.create_task_group() as tasks,
    ):

        async def call() -> None:
            results.append(await ask(client, "action"))

        for _ in range(CALLS):
            tasks.start_soon(call)
    print(len(results), *set(results))


async def test_more_calls_than_descriptors(anyio_backend_name: str) -> None:
    """All are answered, over no more sockets than the process may have."""
    program = (
        "import anyio, sys\n"
        f"from {__name__} import call_under_few_descriptors\n"
        "anyio.run(call_under_few_descriptors, sys.argv[2], backend=sys.argv[1])\n"
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * DESCRIPTORS:
        pytest.skip(f"the server itself needs {2 * DESCRIPTORS} descriptors, and may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * DESCRIPTORS), hard))
    try:
        async with using() as (wire, _):
            with anyio.fail_after(2 * GUARD):
                done = await anyio.run_process(
                    [sys.executable, "-c", program, anyio_backend_name, wire.url],
                    cwd=Path(__file__).parents[2],
                )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert done.stdout.decode().split() == [str(CALLS), RIGHT]
    assert len({request.connection for request in wire.requests}) < DESCRIPTORS
    assert len(wire.requests) == CALLS


async def serve(
    wire: Wire, port: int, *, task_status: TaskStatus[tuple[int, CancelScope, anyio.Event]]
) -> None:
    """As `tests.peers.raw.serving`, on this port and until the scope is cancelled."""
    number = 0
    ended = anyio.Event()

    async def handle(stream: SocketStream) -> None:
        nonlocal number
        number += 1
        async with stream:
            try:
                await wire.handle(Peer(stream, number))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    with CancelScope() as scope:
        async with await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=port, backlog=CONNECTIONS
        ) as listener:
            task_status.started((listener.extra(SocketAttribute.local_port), scope, ended))
            await listener.serve(handle)
    ended.set()


async def test_connections_that_all_come_back() -> None:
    """None is timed out by the others: each makes one handshake with the new server."""
    old, new = Wire(), Wire()
    connections: list[Connection] = []
    with anyio.fail_after(2 * GUARD):
        async with anyio.create_task_group() as servers:
            port, stop, ended = await servers.start(serve, old, 0)
            url = f"http://127.0.0.1:{port}"
            soon = Retry(initial=0.05, maximum=0.5)
            async with Client(url, encoding="json", retry=soon) as client, AsyncExitStack() as all:
                for number in range(CONNECTIONS):
                    handle = client.x.get_or_create(str(number))
                    connections.append(await all.enter_async_context(handle.connect()))
                stop.cancel()
                await ended.wait()
                await servers.start(serve, new, port)
                async with anyio.create_task_group() as tasks:
                    for connection in connections:
                        tasks.start_soon(connection.action, "go")
            servers.cancel_scope.cancel()
    assert [request.kind for request in new.requests].count("connect") == CONNECTIONS
