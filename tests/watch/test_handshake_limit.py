"""The bound on handshakes at once, in virtual time: nobody waits for ever, and no place is lost."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from rivet_anyio._connection.handshake_limit import HandshakeLimit
from rivet_anyio.testing import virtual_backend


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


async def crowd(chance: random.Random) -> None:
    """Thirty tasks that want a place, many of which are cancelled on the way."""
    limit = chance.choice((1, 2, 5))
    handshakes = HandshakeLimit(limit)
    now = {False: 0, True: 0}
    done = 0

    async def shake(slow: bool, until: float) -> None:
        nonlocal done
        with anyio.CancelScope(deadline=anyio.current_time() + until):
            handshake = await handshakes.begin(slow=slow)
            now[slow] += 1
            assert now[True] + now[False] <= handshakes.under_way <= limit
            assert now[True] <= max(1, limit // 2)
            try:
                await anyio.sleep(chance.choice((0, 1, 2)))
            finally:
                now[slow] -= 1
                handshake.end(None)
                handshake.end(None)  # as an observer's: only the first counts
            done += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            until = chance.choice((0, 1, 1, 2, 3, 1000))
            tasks.start_soon(shake, chance.random() < 0.5, until)
            if chance.random() < 0.2:
                await anyio.sleep(1)
    assert handshakes.under_way == 0 and done
    with anyio.fail_after(1):
        for slow in (True, False):
            (await handshakes.begin(slow=slow)).end(None)


async def test_many_that_are_cancelled_at_any_moment() -> None:
    for seed in range(18):
        await crowd(random.Random(seed))


async def test_a_place_that_was_given_to_a_cancelled_waiter_is_passed_on() -> None:
    handshakes = HandshakeLimit(1)
    first = await handshakes.begin(slow=False)
    scope = anyio.CancelScope()
    got = anyio.Event()

    async def give_up() -> None:
        with scope:
            handshake = await handshakes.begin(slow=True)
            handshake.end(None)

    async def wait() -> None:
        await handshakes.begin(slow=False)
        got.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_up)
        await anyio.wait_all_tasks_blocked()
        first.end(None)
        scope.cancel()  # in the step in which it got its place
        tasks.start_soon(wait)
        with anyio.fail_after(1):
            await got.wait()


async def test_slow_ones_wait_behind_others() -> None:
    handshakes = HandshakeLimit(4)
    order: list[str] = []
    first = [await handshakes.begin(slow=slow) for slow in (True, True, False, False)]

    async def shake(name: str) -> None:
        await handshakes.begin(slow=name == "slow")
        order.append(name)

    async with anyio.create_task_group() as tasks:
        for name in ("slow", "slow", "quick", "quick"):
            tasks.start_soon(shake, name)
            await anyio.wait_all_tasks_blocked()
        first[2].end(None)
        await anyio.wait_all_tasks_blocked()
        assert order == ["quick"]
        first[0].end(None)
        await anyio.wait_all_tasks_blocked()
        assert order == ["quick", "quick"]
        first[1].end(None)
        first[3].end(None)
        await anyio.wait_all_tasks_blocked()
        assert order == ["quick", "quick", "slow", "slow"]
