"""One task, one event: set before, meanwhile, after; cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
import trio
from anyio import wait_all_tasks_blocked

from rivet_anyio._io.backend import Waiter, current_backend, in_trio
from rivet_anyio._io.waiting import Signal


async def test_the_clock_is_anyios() -> None:
    before = anyio.current_time()
    now = current_backend().time()
    assert before <= now <= anyio.current_time()


async def test_a_trio_that_is_older_than_the_extra_asks_for(
    monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str
) -> None:
    """Trio before 0.29, which an asyncio program may have for other reasons."""
    monkeypatch.delattr(trio.lowlevel, "in_trio_task")
    assert in_trio() is (anyio_backend_name == "trio")
    module = type(current_backend()).__module__
    assert module.endswith(anyio_backend_name)


async def test_set_before_the_wait() -> None:
    waiter = current_backend().waiter()
    waiter.set()
    waiter.set()
    await waiter.wait()
    await waiter.wait()


async def test_a_wait_that_need_not_wait_can_be_cancelled() -> None:
    waiter = current_backend().waiter()
    waiter.set()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await waiter.wait()
    assert scope.cancelled_caught


async def test_set_while_somebody_waits() -> None:
    waiter = current_backend().waiter()
    returned = anyio.Event()

    async def wait() -> None:
        await waiter.wait()
        returned.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not returned.is_set()
        waiter.set()
        waiter.set()
        with anyio.fail_after(10):
            await returned.wait()


async def _wait(waiter: Waiter, scope: anyio.CancelScope) -> None:
    with scope:
        await waiter.wait()


@pytest.mark.parametrize("is_set", [False, True])
async def test_cancelled(is_set: bool) -> None:
    """In the same step as `set` either may win, and neither breaks anything."""
    waiter = current_backend().waiter()
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_wait, waiter, scope)
        await wait_all_tasks_blocked()
        if is_set:
            waiter.set()
        scope.cancel()
        waiter.set()
    assert is_set or scope.cancelled_caught
    with anyio.fail_after(10):
        await waiter.wait()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_asyncio_cancels() -> None:
    waiter = current_backend().waiter()
    task = asyncio.ensure_future(waiter.wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    waiter.set()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_keeps_no_timer_of_a_wait_that_ended() -> None:
    loop: Any = asyncio.get_running_loop()
    before = len(loop._scheduled)
    for _ in range(1000):
        waiter = current_backend().waiter()
        waiter.set()
        await waiter.wait_until(anyio.current_time() + 1000)
    await anyio.lowlevel.checkpoint()  # asyncio removes what was cancelled when it is much
    assert len(loop._scheduled) <= before + 200


async def test_a_signal_keeps_nobody_who_was_cancelled() -> None:
    signal = Signal()
    for _ in range(3):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await signal.wait()
        assert scope.cancelled_caught
    assert not signal._waiters
