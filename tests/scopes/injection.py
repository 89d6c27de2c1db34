"""Cancelling a program at its n-th step, for every n and by every means."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import anyio
import pytest
import sniffio
import trio

from rivet_anyio._io.asyncio import AsyncioSocket
from rivet_anyio._io.asyncio_transport import TransportStream
from rivet_anyio._io.trio import TrioSocket

__all__ = ["MEANS", "PLACES", "cancelled_at", "live_tasks", "undisturbed"]

T = TypeVar("T")

Program = Callable[[], Awaitable[None]]
Run = Callable[[], Coroutine[Any, Any, None]]
Strike = Callable[[], object]


class _Counter:
    """Counts, and strikes at the n-th."""

    def __init__(self, at: int) -> None:
        self.strike: Strike | None = None
        self.reached = False
        self._left = at

    def tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            assert self.strike is not None
            self.reached = True
            self.strike()


class _Waits(Awaitable[T]):
    """Awaits something, and counts how often that is suspended."""

    def __init__(self, inner: Awaitable[T], counter: _Counter) -> None:
        self._inner = inner
        self._counter = counter

    def __await__(self) -> Generator[Any, Any, T]:
        inner = self._inner.__await__()
        step: Callable[[], Any] = partial(next, inner)
        while True:
            try:
                suspended = step()
            except StopIteration as stop:
                result: T = stop.value
                return result
            self._counter.tick()
            try:
                step = partial(_send, inner, (yield suspended))
            except BaseException as exc:
                step = partial(_throw, inner, exc)


def _send(inner: Generator[Any, Any, T], value: Any) -> Any:
    return inner.send(value)


def _throw(inner: Generator[Any, Any, T], exc: BaseException) -> Any:
    return inner.throw(exc)


async def _counting_waits(program: Program, counter: _Counter) -> None:
    """Every place where the program's own task is suspended."""
    await _Waits(program(), counter)


async def _counting_io(program: Program, counter: _Counter) -> None:
    """Before and after everything that is read or written, in whichever task."""

    def counted(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            counter.tick()
            try:
                return await method(*args, **kwargs)
            finally:
                counter.tick()

        return call

    def counted_at_once(method: Callable[..., int]) -> Callable[..., int]:
        def call(*args: Any) -> int:
            counter.tick()
            try:
                return method(*args)
            finally:
                counter.tick()

        return call

    with pytest.MonkeyPatch.context() as patch:
        for stream in (AsyncioSocket, TransportStream, TrioSocket):
            for name in ("read", "write"):
                patch.setattr(stream, name, counted(getattr(stream, name)))
        for stream in (AsyncioSocket, TransportStream, TrioSocket):
            patch.setattr(stream, "write_now", counted_at_once(stream.write_now))
        await program()


PLACES = {"waits": _counting_waits, "io": _counting_io}


async def _by_scope(run: Run, counter: _Counter) -> None:
    with anyio.CancelScope() as scope:
        counter.strike = scope.cancel
        await run()


async def _by_deadline(run: Run, counter: _Counter) -> None:
    try:
        with anyio.fail_after(None) as scope:
            counter.strike = lambda: setattr(scope, "deadline", -float("inf"))
            await run()
    except TimeoutError:
        assert counter.reached


async def _by_task_cancel(run: Run, counter: _Counter) -> None:
    task = asyncio.ensure_future(run())
    counter.strike = task.cancel
    try:
        await task
    except asyncio.CancelledError:
        assert counter.reached
        assert task.cancelling() == 1


async def _by_asyncio_timeout(run: Run, counter: _Counter) -> None:
    try:
        async with asyncio.timeout(None) as timeout:
            now = asyncio.get_running_loop().time()
            counter.strike = partial(timeout.reschedule, now)
            await run()
    except TimeoutError:
        assert counter.reached


MEANS = {
    "scope": _by_scope,
    "deadline": _by_deadline,
    "task-cancel": _by_task_cancel,
    "asyncio-timeout": _by_asyncio_timeout,
}


async def cancelled_at(means: str, place: str, program: Program, at: int) -> bool:
    """Run a program and cancel it at the n-th place of a kind.

    Returns:
        Whether there was an n-th place.
    """
    counter = _Counter(at)
    await MEANS[means](partial(PLACES[place], program, counter), counter)
    return counter.reached


def live_tasks() -> set[object]:
    """Every task that runs now."""
    if sniffio.current_async_library() == "asyncio":
        return set(asyncio.all_tasks())
    return set(_trio_tasks())


def _trio_tasks() -> set[trio.lowlevel.Task]:
    found: set[trio.lowlevel.Task] = set()
    root = trio.lowlevel.current_root_task()
    pending = [root] if root is not None else []
    while pending:
        task = pending.pop()
        found.add(task)
        for nursery in task.child_nurseries:
            pending += nursery.child_tasks
    return found


# Cancelled just after it connected, `anyio.connect_tcp` leaves its socket open before AnyIO 4.16.
_CONNECTING_LEAKS = tuple(map(int, version("anyio").split(".")[:2])) < (4, 16)


@contextmanager
def undisturbed() -> Iterator[None]:
    """The task tree is the same afterwards, nothing stays cancelled, and nothing leaks."""
    before = live_tasks()
    on_asyncio = sniffio.current_async_library() == "asyncio"
    current = asyncio.current_task() if on_asyncio else None
    cancelling = current.cancelling() if current is not None else 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    left = live_tasks() - before
    assert not left, f"tasks outlive the scope: {left}"
    messages = [str(warning.message) for warning in caught]
    if _CONNECTING_LEAKS:
        messages = [message for message in messages if not message.startswith("unclosed ")]
    assert messages == [], messages
    if current is not None:
        assert current.cancelling() == cancelling
