"""What virtual time and simulations use of asyncio, AnyIO and Trio that those do not document.

All of it stands here. Where a version of a library does not have it, one warning is logged, and
the harness does without: pings are sent one by one, or a program that waits for ever is not
noticed. Only a seed that could decide nothing is an error.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from heapq import heappop, heappush
from importlib.metadata import version
from types import FrameType
from typing import Any

from .._io.asyncio import AsyncioWaiter
from .._io.internals import TrioTimer, warn_once

__all__ = [
    "anyio_group_tasks",
    "asyncio_timers",
    "asyncio_waited_for",
    "callback_owner",
    "is_anyio_caller",
    "is_anyio_runner",
    "is_anyio_runner_idle",
    "is_asyncio_main",
    "is_pytest_trio_test",
    "raise_in_asyncio",
    "raise_in_trio",
    "ready_handles",
    "trio_clock",
    "trio_scheduling",
    "trio_tasks",
    "trio_timers",
]

Timer = tuple[float, Any]
"""A deadline, and the coroutine that it is of, None where that is not known."""


# asyncio


def ready_handles(loop: asyncio.BaseEventLoop) -> deque[Any]:
    """What runs in the loop's next round, to be changed in place; see `callback_owner`.

    Raises:
        RuntimeError: this Python's loop has no such thing.
    """
    ready = getattr(loop, "_ready", None)
    if not isinstance(ready, deque) or not hasattr(loop, "_run_once"):
        raise RuntimeError(
            "a seed cannot decide what runs next on asyncio of this Python: use backend='trio', "
            "or another version of Python"
        )
    return ready


def callback_owner(handle: asyncio.Handle) -> Any:
    """The object whose method a handle will call: a task, where it is the task's next step."""
    return getattr(getattr(handle, "_callback", None), "__self__", None)


def asyncio_timers(loop: asyncio.AbstractEventLoop, timeout: float | None) -> Iterator[Timer]:
    """The deadlines of a loop, in their order.

    Args:
        loop: The loop.
        timeout: How long it would wait, in seconds; None: for ever.
    """
    scheduled = getattr(loop, "_scheduled", None)
    if scheduled is None:
        warn_once("asyncio", "BaseEventLoop._scheduled", _PINGS)
        if timeout is not None:
            yield loop.time() + timeout, None
        return
    for handle in _in_order(scheduled):
        if not handle.cancelled():
            yield handle.when(), _coroutine_of(handle)


def _in_order(heap: Sequence[Any]) -> Iterator[Any]:
    """The items of a heap, from the smallest: looks only at the children of what it has given."""
    following = [(heap[0], 0)] if heap else []
    while following:
        item, index = heappop(following)
        yield item
        for child in (2 * index + 1, 2 * index + 2):
            if child < len(heap):
                heappush(following, (heap[child], child))


_PINGS = "connections that rest are pinged one by one, and that counts as progress"


def _coroutine_of(handle: asyncio.TimerHandle) -> Any:
    """The coroutine whose deadline this is: scopes and futures know their tasks."""
    owner = callback_owner(handle)
    if isinstance(owner, AsyncioWaiter):
        callbacks = getattr(owner._future, "_callbacks", None)
        task = getattr(callbacks[0][0], "__self__", None) if callbacks else None
    else:
        task = getattr(owner, "_host_task", None) if _scopes_know_tasks() else None
    return None if task is None else task.get_coro()


@cache
def _scopes_know_tasks() -> bool:
    from anyio._backends._asyncio import CancelScope

    if hasattr(CancelScope(), "_host_task"):
        return True
    warn_once("anyio", "CancelScope._host_task", _PINGS)
    return False


def asyncio_waited_for(task: asyncio.Task[Any]) -> list[asyncio.Future[Any]]:
    """The future that a task waits for, and the futures which that one gathers."""
    waiter = getattr(task, "_fut_waiter", _MISSING)
    if waiter is _MISSING:
        warn_once("asyncio", "Task._fut_waiter", _DEADLOCK)
    if waiter is None or waiter is _MISSING:
        return []
    return [waiter, *getattr(waiter, "_children", ())]


_MISSING: Any = object()
_DEADLOCK = "a test that waits for ever ends the event loop, too"


def is_asyncio_main(task: asyncio.Task[Any]) -> bool:
    """Whether the loop runs until this task ends."""
    callbacks = getattr(task, "_callbacks", None) or ()
    return any(
        getattr(callback, "__name__", "") == "_run_until_complete_cb" for callback, _ in callbacks
    )


def raise_in_asyncio(task: asyncio.Task[Any], error: BaseException) -> bool:
    """Raise an error where a task waits, and say whether it waits."""
    for waiter in asyncio_waited_for(task)[:1]:
        if not waiter.done():
            waiter.set_exception(error)
            return True
    return False


# AnyIO


def anyio_group_tasks(frame: FrameType) -> list[asyncio.Task[Any]]:
    """The tasks of the group that ends in this frame, an ``__aexit__``."""
    return list(getattr(frame.f_locals.get("self"), "_tasks", ()))


def is_anyio_runner(frames: list[FrameType]) -> bool:
    """Whether these are of the task in which AnyIO's pytest plugin runs tests."""
    return any(frame.f_code.co_name == "_run_tests_and_fixtures" for frame in frames)


def is_anyio_runner_idle(frames: list[FrameType]) -> bool:
    """Whether that task waits for something to run."""
    names = [frame.f_code.co_name for frame in frames]
    following = names[names.index("_run_tests_and_fixtures") + 1 :]
    return following[:1] in (["__anext__"], ["receive"])


def is_anyio_caller(frames: list[FrameType]) -> bool:
    """Whether these are of the caller of that task, who waits for what the test returns."""
    return any(frame.f_code.co_name == "_call_in_runner_task" for frame in frames)


# pytest-trio


def is_pytest_trio_test(frames: list[FrameType]) -> bool:
    """Whether these are of the task in which pytest-trio runs the test itself."""
    return bool(frames and getattr(frames[0].f_locals.get("self"), "_is_test", False))


# Trio


def trio_scheduling() -> tuple[Any, random.Random]:
    """The module in which Trio decides what runs next, and its source of chance.

    ``_ALLOW_DETERMINISTIC_SCHEDULING`` of the module makes the source alone decide.

    Raises:
        RuntimeError: this Trio has no such thing.
    """
    try:
        from trio._core import _run

        module: Any = _run
        _ = module._ALLOW_DETERMINISTIC_SCHEDULING
        chance: random.Random = module._r
        _ = chance.getstate, chance.setstate, chance.seed
    except (ImportError, AttributeError) as exc:
        raise RuntimeError(
            f"a seed cannot decide what runs next on Trio {version('trio')}: {exc}. Use "
            "backend='asyncio', or another version of Trio"
        ) from exc
    return module, chance


def trio_clock(decide: Callable[[Any, Any], None], clock: Any = None) -> Any:
    """Trio's `MockClock`, which cannot be derived from, with another idea of what comes next.

    Args:
        decide: Called with the clock and Trio's runner when every task waits.
        clock: The clock that changes its habit; None: a new one.
    """
    from trio.testing import MockClock

    if clock is None:
        clock = MockClock(autojump_threshold=0)
    plain: Any = getattr(clock, "_autojump", None)

    def autojump() -> None:
        runner = _trio_runner()
        if runner is None:
            plain()
        else:
            decide(clock, runner)

    if plain is None:
        warn_once("trio", "MockClock._autojump", _UNNOTICED)
    else:
        clock._autojump = autojump
    return clock


_UNNOTICED = "a program that waits for ever is not noticed"


def _trio_runner() -> Any:
    """Trio's runner, with what is used of it below; None where it has something else."""
    try:
        from trio._core._run import GLOBAL_RUN_CONTEXT

        runner: Any = GLOBAL_RUN_CONTEXT.runner
        _ = runner.deadlines._heap
        _ = runner.main_task._counter, runner.main_task._abort_func, runner.main_task._attempt_abort
    except (ImportError, AttributeError):
        warn_once("trio", "Runner.deadlines with Task._attempt_abort", _UNNOTICED)
        return None
    return runner


def trio_timers(runner: Any) -> Iterator[Timer]:
    """The deadlines of all cancel scopes and timers, in their order."""
    for deadline, _, scope in _in_order(runner.deadlines._heap):
        if scope._registered_deadline == deadline:
            if isinstance(scope, TrioTimer):
                # That of a waiter knows its task. `_io.trio` would import Trio.
                task = getattr(getattr(scope.function, "__self__", None), "_task", None)
            else:
                status = scope._cancel_status
                task = None if status is None else next(iter(status._tasks), None)
            yield deadline, None if task is None else task.coro


def trio_tasks(runner: Any) -> list[Any]:
    """All tasks that descend from the main one, which comes first."""
    found: list[Any] = []
    following = [runner.main_task]
    while following:
        task = following.pop()
        found.append(task)
        for nursery in task.child_nurseries:
            following.extend(sorted(nursery.child_tasks, key=_trio_age))
    return found


def _trio_age(task: Any) -> int:
    number: int = task._counter
    return number


def raise_in_trio(task: Any, error: BaseException) -> bool:
    """Raise an error where a task waits, and say whether it can be raised there."""

    def raise_error() -> None:
        raise error

    if task._abort_func is None:
        return False
    task._attempt_abort(raise_error)
    return True
