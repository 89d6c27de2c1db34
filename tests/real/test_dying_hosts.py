"""A host that is killed behind the gateway of RivetKit 2.3: each missing event lies in a gap."""

from __future__ import annotations

from contextlib import suppress
from itertools import count

import anyio
import anyio.to_thread
import pytest

from rivet_anyio import Client, Connection, Gap, Retry, RivetError
from tests.checks import count_checks
from tests.servers import Server, start_server

GUARD = 240
QUICK = Retry(initial=0.05, maximum=0.3)
BURST = 20


@pytest.fixture
def doomed(request: pytest.FixtureRequest, anyio_backend_name: str) -> Server:
    ordinary = anyio_backend_name == "asyncio" and request.node.callspec.params.get("wakes")
    if not ordinary and not request.config.getoption("--all-kills"):
        pytest.skip("one is enough: see --all-kills")
    server = start_server("2.3.19")
    request.addfinalizer(server.close)
    return server


@pytest.mark.parametrize("wakes", [True, False])
async def test_a_host_that_is_killed_under_load(doomed: Server, wakes: bool) -> None:
    """Another client wakes the actor at once; or everybody only listens."""
    sent: list[tuple[float, int]] = []
    got_at: dict[int, float] = {}
    gaps: list[Gap] = []
    starts = count(0, BURST)
    is_down = False
    with anyio.fail_after(GUARD):
        async with (
            Client(doomed.endpoint, retry=QUICK, actor_check_interval=2.0) as client,
            Client(doomed.endpoint, retry=QUICK, actor_check_interval=None) as other,
            client.probe.get_or_create("doomed").connect() as conn,
            other.probe.get_or_create("doomed").connect() as sender,
            conn.events("e", gaps="mark", buffer_size=1 << 30) as stream,
            anyio.create_task_group() as tasks,
        ):

            async def listen() -> None:
                async for item in stream:
                    if isinstance(item, Gap):
                        gaps.append(item)
                    else:
                        got_at[item] = anyio.current_time()

            async def send(by: Connection) -> None:
                before, start = anyio.current_time(), next(starts)
                await by.emitMany("e", BURST, start)
                sent.append((before, start))

            async def send_on() -> None:
                while wakes or not is_down:
                    with suppress(RivetError):
                        await send(sender)

            tasks.start_soon(listen)
            tasks.start_soon(send_on)
            await anyio.sleep(0.5)
            is_down = True
            await anyio.to_thread.run_sync(doomed.kill_host)
            await anyio.to_thread.run_sync(doomed.start)
            while not stream.gaps:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            answered = tuple(sent)  # their events come before those of the next call
            await send(conn)
            last = sent[-1][1] + BURST - 1
            while last not in got_at:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert len(got_at) > BURST and len(gaps) == 1
    for before, start in answered:
        for number in range(start, start + BURST):
            if number not in got_at:
                # Whatever came later was read in the gap or behind it.
                later = min(at for other, at in got_at.items() if other > number)
                assert before <= gaps[0].until and gaps[0].since <= later, (number, before, gaps)


async def test_fifty_calls_under_way_to_a_host_that_is_killed(doomed: Server) -> None:
    """All of them run again, and few requests find out about their actors."""
    results: list[int] = []
    async with Client(doomed.endpoint, retry=QUICK) as client:
        handles = [client.probe.get_or_create(f"doomed-{number}") for number in range(10)]
        asked = count_checks(client)
        for handle in handles:
            await handle.slow(0, 0)

        async def call(number: int) -> None:
            handle = handles[number % len(handles)]
            results.append(await handle.action("slow", 9_000, number, retry_for=GUARD))

        with anyio.fail_after(GUARD):
            async with anyio.create_task_group() as tasks:
                for number in range(50):
                    tasks.start_soon(call, number)
                await anyio.sleep(6)
                await anyio.to_thread.run_sync(doomed.kill_host)
                await anyio.to_thread.run_sync(doomed.start)
        assert client._core.checks._leader is None and not client._core.checks._asked
    assert sorted(results) == list(range(50))
    assert len(asked) < 20
