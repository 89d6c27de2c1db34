"""A task group that never speaks: what a connection's scope is made of.

The body's exception is not handed to the group, so it leaves as the very object it is; the tasks
inside keep what goes wrong to themselves and return.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled

from .backend import in_trio
from .internals import ki_protected
from .waiting import Signal

__all__ = [
    "ForeignCancellation",
    "SilentTasks",
    "block_without_interrupts",
    "close_seconds",
    "forbid_interrupts",
    "seconds_left",
    "without_interrupts",
]

F = TypeVar("F", bound=Callable[..., Any])
Task = Callable[[], Coroutine[Any, Any, None]]

_LEAVE_CANCELLED_SECONDS = 1.0
"""How long a closing handshake may take after the block was cancelled."""

_LEFT_ELSEWHERE = (
    "the block was left by another task than the one that entered it; to keep it open over cells "
    "of a notebook or over fixtures, enter it behind a portal: "
    "anyio.from_thread.start_blocking_portal"
)


def close_seconds(close_timeout: float, exc_type: type[BaseException] | None) -> float:
    """Seconds that a closing handshake may take, given how the block ends.

    The block may also be cancelled during the handshake, or have been without having noticed.
    """
    until_cancelled = seconds_left()
    if exc_type is not None and not issubclass(exc_type, Exception):
        until_cancelled = 0.0
    return min(close_timeout, max(until_cancelled, 0.0) + _LEAVE_CANCELLED_SECONDS)


def seconds_left() -> float:
    """Seconds until a deadline of the caller's scopes."""
    try:
        return anyio.current_effective_deadline() - anyio.current_time()
    except RecursionError:  # Trio's own, in a thousand blocks inside each other
        return math.inf


class ForeignCancellation:
    """Inside of it, a cancellation that no cancel scope asked for becomes an error.

    asyncio lets anybody cancel a task or a future, and that must not reach the user's body.

    Args:
        error: The kind of error.
        what: What was cancelled.
        passes: Whether the task may be the caller's own. Then the cancellation of that task
            passes, and only one that the function inside raised by itself becomes an error.
    """

    __slots__ = ("_error", "_passes", "_what")

    def __init__(
        self, error: Callable[[str], Exception], what: str, *, passes: bool = False
    ) -> None:
        self._error = error
        self._what = what
        self._passes = passes

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(exc, anyio.get_cancelled_exc_class()) or in_trio():
            return
        task = asyncio.current_task()
        if self._passes and task is not None and task.cancelling():
            return
        if anyio.current_effective_deadline() > -math.inf:
            raise self._error(f"{self._what} was cancelled from outside") from exc


def without_interrupts(function: F) -> F:
    """A function that Trio does not interrupt for Ctrl-C, nor anything that it calls.

    Ctrl-C is for the program's own code: not for our tasks, and not for a step of ours that would
    leave half a frame behind. A wait that is marked is still interrupted, but not between noting
    whom to wake and waiting: to wake a task that does not wait breaks Trio.
    """
    return ki_protected(function) if in_trio() else function


def forbid_interrupts(*functions: Callable[..., Any]) -> None:
    """As `without_interrupts`: marks these functions, wherever they are called."""
    if in_trio():
        for function in functions:
            ki_protected(function)


def block_without_interrupts(kind: type[AbstractAsyncContextManager[Any]]) -> None:
    """Let Trio's Ctrl-C come into no step of entering or leaving these blocks.

    Call it first when one is entered. A task group that was entered, and whose block never began,
    would be left by nobody. To wait in these steps is interrupted as always.
    """
    forbid_interrupts(kind.__aenter__, kind.__aexit__)


class SilentTasks:
    """Background tasks inside a block; see the module."""

    def __init__(self) -> None:
        self._group: TaskGroup | None = None
        self._shield: CancelScope | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._running = 0
        self._entered_by = 0

    async def __aenter__(self) -> Self:
        """Begin; the end of the block cancels what still runs."""
        block_without_interrupts(SilentTasks)
        await self.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave(Signal(), 0)

    async def enter(self) -> None:
        """Begin; the caller must `leave`."""
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._entered_by = _task_id()

    def start(self, task: Task) -> None:
        """Run a task that does not raise."""
        self._start(task, nullcontext() if in_trio() else _OwnCancellations())

    def call_at(self, at: float, function: Callable[[], None]) -> None:
        """Call one function at a time of the event loop, unless the block has ended by then."""
        if not in_trio():  # a timer costs a tenth of a task
            self._timer = asyncio.get_running_loop().call_at(at, function)
            return

        async def call() -> None:
            await anyio.sleep_until(at)
            await checkpoint_if_cancelled()
            function()

        self.start(call)

    def start_shielded(self, task: Task) -> None:
        """As `start`, but only `leave` cancels it: one task, which closes what the block opened."""
        assert self._shield is None
        self._shield = CancelScope(shield=True)
        self._start(task, self._shield)

    def _start(self, task: Task, scope: AbstractContextManager[Any]) -> None:
        assert self._group is not None
        self._running += 1
        name = getattr(task, "__qualname__", None)
        self._group.start_soon(self._run, without_interrupts(task), scope, name=name)

    async def _run(self, task: Task, scope: AbstractContextManager[Any]) -> None:
        try:
            with scope:
                await task()
        finally:
            self._running -= 1

    def check_task(self) -> None:
        """Refuse to `leave` in another task of Trio than the one that entered.

        It would break both tasks. On asyncio the other one may have ended, as a notebook's cell:
        there, `leave` closes what is open first.

        Raises:
            RuntimeError: it is another one; the block stays as it is.
        """
        if in_trio() and self._group is not None and self._is_elsewhere():
            raise RuntimeError(_LEFT_ELSEWHERE)

    def _is_elsewhere(self) -> bool:
        return _task_id() != self._entered_by

    async def leave(self, finished: Signal, seconds: float) -> None:
        """Wait for `finished`, shielded and at most `seconds`; then cancel what still runs.

        Raises:
            RuntimeError: another task has entered the block.
        """
        group, self._group = self._group, None
        assert group is not None
        if self._timer is not None:
            self._timer.cancel()
        try:
            if seconds > 0:
                with CancelScope(shield=True, deadline=anyio.current_time() + seconds):
                    await finished.wait()
        finally:
            group.cancel_scope.shield = True
            if self._running:  # to cancel costs much, also where nothing runs
                if self._shield is not None:
                    self._shield.cancel()
                group.cancel_scope.cancel()
            try:
                await _exit(group)
            except RuntimeError as error:
                if self._is_elsewhere():
                    raise RuntimeError(_LEFT_ELSEWHERE) from error
                raise


class _OwnCancellations:
    """Keeps the cancellations of a task of asyncio away from its block, whose end they are not.

    A scope counts how often it cancelled its task, to take that back at its end. Where a scope
    around it is cancelled as well, AnyIO leaves that to the one around it: here the group's, which
    would take it back from the task of the block, and with it a cancellation that was asked for
    there. A shielded scope leaves nothing to others.

    A task that somebody cancels from outside just ends. It would cancel the whole block.
    """

    __slots__ = ("_scope",)

    def __enter__(self) -> None:
        self._scope = CancelScope()
        self._scope.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._scope.shield = True
        self._scope.cancel()
        self._scope.__exit__(exc_type, exc, traceback)
        return isinstance(exc, asyncio.CancelledError)


def _task_id() -> int:
    """That of the task which runs this; AnyIO would make an object of all that is known of it."""
    if not in_trio():
        return id(asyncio.current_task())
    import trio

    return id(trio.lowlevel.current_task())


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
