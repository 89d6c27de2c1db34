"""Background tasks inside a block: what they do to the task of the block."""

import asyncio

import anyio
import pytest
from anyio import CancelScope
from anyio.lowlevel import checkpoint

from rivet_anyio._io.tasks import SilentTasks
from rivet_anyio._io.waiting import Signal


def _asyncio_task() -> "asyncio.Task[object]":
    """The task that runs this; skips on Trio, which lets nobody cancel a task."""
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        pytest.skip("only asyncio's tasks can be cancelled from outside")
    task = asyncio.current_task()
    assert task is not None
    return task


async def _until_cancelled(tasks: SilentTasks) -> CancelScope:
    """The scope in which a new background task waits."""
    scope = CancelScope()

    async def wait() -> None:
        with scope:
            await anyio.sleep_forever()

    tasks.start(wait)
    await checkpoint()
    return scope


async def test_a_background_scope_takes_back_no_cancellation_of_the_blocks_task() -> None:
    """The task of the block is cancelled once, and says so afterwards, for `asyncio.timeout`."""
    task = _asyncio_task()
    with pytest.raises(asyncio.CancelledError):
        async with SilentTasks() as tasks:
            scope = await _until_cancelled(tasks)
            asyncio.get_running_loop().call_soon(task.cancel)
            try:
                await anyio.sleep_forever()
            finally:
                scope.cancel()  # in the step in which the block's end cancels its tasks
    assert task.cancelling() == 1
    task.uncancel()
    await checkpoint()


async def test_a_cancellation_at_the_end_of_the_block_stays_counted() -> None:
    task = _asyncio_task()
    tasks = SilentTasks()
    await tasks.enter()
    scope = await _until_cancelled(tasks)
    scope.cancel()
    asyncio.get_running_loop().call_soon(task.cancel)  # before the group cancels the task anew
    with pytest.raises(asyncio.CancelledError):
        await tasks.leave(Signal(), 0)
    assert task.cancelling() == 1
    task.uncancel()
    await checkpoint()


async def test_a_background_task_that_is_cancelled_from_outside_ends_alone() -> None:
    _asyncio_task()
    started: list[asyncio.Task[object]] = []

    async def wait() -> None:
        started.append(_asyncio_task())
        await anyio.sleep_forever()

    async with SilentTasks() as tasks:
        tasks.start(wait)
        await checkpoint()
        started[0].cancel()
        await asyncio.wait(started)
        for _ in range(3):
            await checkpoint()  # the block goes on
