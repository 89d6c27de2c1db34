"""A task group that never speaks: what a connection's scope is made of.

The body's exception is not handed to the group, so it leaves as the very object it is; the tasks
inside keep what goes wrong to themselves and return.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup

from .stream import in_trio
from .waiting import Signal

__all__ = ["LEAVE_CANCELLED_SECONDS", "SilentTasks", "is_cancelled", "patience", "uninterrupted"]

F = TypeVar("F", bound=Callable[..., Any])

LEAVE_CANCELLED_SECONDS = 1.0
"""How long a goodbye may take when the scope is left by cancellation."""


def patience(close_timeout: float, exc_type: type[BaseException] | None) -> float:
    """Seconds that a goodbye may take, given how the block ends."""
    if exc_type is None or issubclass(exc_type, Exception):
        return close_timeout
    return min(close_timeout, LEAVE_CANCELLED_SECONDS)


def is_cancelled() -> bool:
    """Whether a cancel scope around this task has been cancelled.

    A cancellation without one comes from elsewhere: from a future that somebody cancelled, say.
    """
    return anyio.current_effective_deadline() == -math.inf


def uninterrupted(function: F) -> F:
    """A function that Trio does not interrupt for Ctrl-C, nor anything that it calls.

    Ctrl-C is for the program's own code: not for our tasks, and not for a step of ours that would
    leave half a frame behind. A wait that is marked is still interrupted, but not between noting
    whom to wake and waiting: to wake a task that does not wait breaks Trio.
    """
    if in_trio():
        import trio

        trio.lowlevel.enable_ki_protection(function)
    return function


class SilentTasks:
    """Background tasks inside a block; see the module."""

    def __init__(self) -> None:
        self._group: TaskGroup | None = None

    async def enter(self) -> None:
        """Begin; the caller must `leave`."""
        self._group = anyio.create_task_group()
        await self._group.__aenter__()

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task that does not raise."""
        assert self._group is not None
        self._group.start_soon(uninterrupted(task))

    async def leave(self, finished: Signal, seconds: float) -> None:
        """Wait for `finished`, shielded and at most `seconds`; then cancel what still runs."""
        group, self._group = self._group, None
        assert group is not None
        try:
            if seconds > 0:
                with CancelScope(shield=True, deadline=anyio.current_time() + seconds):
                    await finished.wait()
        finally:
            group.cancel_scope.shield = True
            group.cancel_scope.cancel()
            await _exit(group)


async def _exit(group: TaskGroup) -> None:
    """Leave the group; an interrupt that hit one of its tasks comes out bare."""
    try:
        await group.__aexit__(None, None, None)
    except BaseExceptionGroup as errors:
        interrupts, others = errors.split((KeyboardInterrupt, SystemExit))
        if interrupts is None:
            raise
        leaf: BaseException = interrupts
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        raise leaf from others
