"""The cheap event behaves as anyio's."""

from __future__ import annotations

import anyio
import pytest

from rivet_anyio._io.waiting import Signal


async def test_everybody_who_waits_is_woken() -> None:
    signal = Signal()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await signal.wait()
        woken.append(number)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            assert not signal.is_set() and woken == []
            signal.set()
            signal.set()
    assert sorted(woken) == [0, 1, 2]


async def test_who_comes_later_does_not_wait_but_can_be_cancelled() -> None:
    signal = Signal()
    signal.set()
    assert signal.is_set()
    with anyio.fail_after(60):
        await signal.wait()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await signal.wait()
        pytest.fail("a checkpoint does not pass a cancelled scope")
    assert scope.cancelled_caught


async def test_a_waiter_that_is_cancelled_leaves_the_others_waiting() -> None:
    signal = Signal()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(signal.wait)
            with anyio.move_on_after(0.01) as scope:
                await signal.wait()
            assert scope.cancelled_caught
            signal.set()
