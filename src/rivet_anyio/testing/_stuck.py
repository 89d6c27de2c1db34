"""What tasks wait for, and who shall hear that it will never come.

Event loops keep it to themselves: `_internals` looks into them.
"""

from __future__ import annotations

import asyncio
import linecache
import os
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import anyio
import httpcore
import httpx

from ._internals import (
    anyio_group_tasks,
    asyncio_waited_for,
    is_anyio_caller,
    is_anyio_runner,
    is_anyio_runner_idle,
    is_asyncio_main,
    is_pytest_trio_test,
    raise_in_asyncio,
    raise_in_trio,
    trio_tasks,
)

__all__ = ["asyncio_tasks", "describe", "end_asyncio", "end_trio", "frames_of"]

_LIBRARIES = tuple(
    os.path.dirname(str(path)) + os.sep
    for path in (
        os.path.dirname(__file__),
        anyio.__file__,
        asyncio.__file__,
        httpx.__file__,
        httpcore.__file__,
    )
)


def frames_of(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a coroutine that waits, the outermost first."""
    while coroutine is not None:
        frame = _first(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is None:
            return
        yield frame
        following = _first(coroutine, "cr_await", "gi_yieldfrom", "ag_await")
        # What steps through another coroutine by hand keeps it here.
        coroutine = frame.f_locals.get("coroutine") if following is None else following


def _first(owner: Any, *names: str) -> Any:
    return next((found for name in names if (found := getattr(owner, name, None))), None)


def _is_own(frame: FrameType) -> bool:
    """Whether it runs code of the program, and of no library of ours."""
    path = frame.f_code.co_filename
    return not (
        path.startswith(_LIBRARIES)
        or "/trio/" in path
        or "/pytest_trio/" in path
        or "contextlib" in path
    )


def describe(tasks: Iterable[tuple[str, Any]]) -> str:
    """Where tasks wait, a line each: names of tasks and their coroutines."""
    lines: list[str] = []
    hidden = 0
    for name, coroutine in tasks:
        frames = list(frames_of(coroutine))
        own = [frame for frame in frames if _is_own(frame)]
        if any(frame.f_code.co_qualname == "_Guard.watched" for frame in frames):
            name = "the program"
        elif is_anyio_runner(frames) or is_pytest_trio_test(frames):
            name = "the test"
        if not own:
            hidden += 1
            continue
        frame = own[-1]
        path, line = frame.f_code.co_filename, frame.f_lineno
        source = linecache.getline(path, line).strip()
        lines.append(f"  {name} in {frame.f_code.co_qualname} ({path}:{line}): {source}")
    lines.sort()
    if hidden:
        lines.append(
            f"  and {hidden} task{'s' * (hidden != 1)} of the client, the server and the event loop"
        )
    return "\n".join(lines)


# asyncio


def asyncio_tasks(loop: asyncio.AbstractEventLoop) -> list[tuple[str, Any]]:
    """The names and the coroutines of all tasks."""
    return [
        (f"task {task.get_name()!r}", task.get_coro())
        for task in asyncio.all_tasks(loop)
        if not task.done()
    ]


def end_asyncio(loop: asyncio.AbstractEventLoop, error: BaseException, *, everybody: bool) -> bool:
    """Raise an error where the program waits that AnyIO's pytest plugin, or the loop, runs.

    Args:
        loop: The event loop.
        error: The error.
        everybody: Whether to raise it in every task.

    Returns:
        Whether there is such a program, and somebody will hear it.
    """
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    runner = next((task for task in tasks if _runs_test(task.get_coro())), None)
    if runner is None:
        runner = next((task for task in tasks if _is_program(task)), None)
    if runner is None:
        return False
    chosen = [_leaf(runner)] if not everybody else [_leaf(task) for task in tasks]
    heard = False
    for task in chosen:
        if task is runner or not is_anyio_caller(list(frames_of(task.get_coro()))):
            heard = raise_in_asyncio(task, error) or heard
    return heard


def _runs_test(coroutine: Any) -> bool:
    """Whether this is the task of AnyIO's runner, at work on a test or a fixture."""
    frames = list(frames_of(coroutine))
    return is_anyio_runner(frames) and not is_anyio_runner_idle(frames)


def _is_program(task: asyncio.Task[Any]) -> bool:
    """Whether the loop runs for this task alone, pytest-asyncio's test say."""
    return is_asyncio_main(task) and not is_anyio_caller(list(frames_of(task.get_coro())))


def _leaf(task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """The task that is really waited for: a task group hears only of its children's errors."""
    while True:
        waited = asyncio_waited_for(task)
        if waited and isinstance(waited[0], asyncio.Task):
            children: list[Any] = waited[:1]
        else:
            children = waited[1:]
            *_, frame = frames_of(task.get_coro())
            if frame.f_code.co_name == "__aexit__":
                children += anyio_group_tasks(frame)
        waiting = [child for child in children if not child.done()]
        if not waiting:
            return task
        task = next(
            (child for child in waiting if any(map(_is_own, frames_of(child.get_coro())))),
            waiting[0],
        )


# Trio


def end_trio(runner: Any, error: BaseException, *, everybody: bool) -> bool:
    """Raise an error where the main task or the test waits; the arguments are as above."""
    frames = list(frames_of(runner.main_task.coro))
    if is_anyio_runner(frames) and is_anyio_runner_idle(frames):
        return False
    tasks = trio_tasks(runner)
    if not everybody:
        tasks = [t for t in tasks if is_pytest_trio_test(list(frames_of(t.coro)))] or tasks[:1]
    heard = [raise_in_trio(task, error) for task in tasks]
    return any(heard)
