"""Running a command's coroutine: signals end it, and errors leave it bare."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable

import anyio
from anyio import CancelScope

from ._exit import Interrupted

__all__ = ["run_async", "until_first"]

_Task = Callable[[], Awaitable[object]]


def run_async(main: _Task, *, backend: str) -> None:
    """Run `main` until it ends or a signal cancels it.

    Raises:
        Interrupted: SIGINT or SIGTERM came.
    """

    async def supervised() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

            async def wait_for_signal() -> None:
                async for signum in signals:
                    raise Interrupted(signum)

            await until_first(main, wait_for_signal)

    anyio.run(main if sys.platform == "win32" else supervised, backend=backend)


async def until_first(*tasks: _Task) -> None:
    """Run tasks until the first of them ends; what it raises comes out as itself."""
    failures: list[BaseException] = []

    async def settle(task: _Task, group: CancelScope) -> None:
        try:
            await task()
        except Exception as exc:
            failures.append(exc)
        group.cancel()

    async with anyio.create_task_group() as group:
        for task in tasks:
            group.start_soon(settle, task, group.cancel_scope)
    if failures:
        raise failures[0]
