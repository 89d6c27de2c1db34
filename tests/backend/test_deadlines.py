"""Blocks that end at a time: the stream is dropped, and nothing else is hidden."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
import sniffio

from rivet_anyio import ConnectionLostError
from rivet_anyio._io.backend import Backend, current_backend, in_trio

from .test_sockets import by_callback, streamed

SOON = 0.05


@pytest.fixture(autouse=True, params=[True, False], ids=["timers", "scopes"])
def has_timers(
    request: pytest.FixtureRequest, anyio_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Whether deadlines share a timer. A Trio that lets us have none has its cancel scopes."""
    if not request.param:
        if anyio_backend != "trio":
            pytest.skip("asyncio has timers")
        monkeypatch.setattr("rivet_anyio._io.trio.trio_call_at", lambda: None)
    has_timers: bool = request.param
    return has_timers


def soon(backend: Backend) -> float:
    return backend.time() + SOON


async def test_a_read_that_takes_too_long() -> None:
    backend = current_backend()
    async with streamed() as (stream, far):
        with backend.deadline(soon(backend), stream) as deadline:
            assert not deadline.expired
            await stream.read(10)
            raise AssertionError("nothing came")
        assert deadline.expired
        assert backend.time() >= deadline.at
        with pytest.raises(ConnectionLostError, match="was dropped"):
            await stream.read(10)
        assert far.recv(10) == b"", "the peer sees the end"


async def test_a_write_that_takes_too_long() -> None:
    backend = current_backend()
    async with streamed() as (stream, _):
        with backend.deadline(soon(backend), stream) as deadline:
            await stream.write(bytes(64 * 1024 * 1024))
            raise AssertionError("nobody reads")
        assert deadline.expired


async def test_one_that_is_past_already() -> None:
    backend = current_backend()
    async with streamed() as (stream, _):
        with backend.deadline(backend.time() - 1, stream) as deadline:
            await stream.read(10)
        assert deadline.expired


@pytest.mark.parametrize("at", [None, math.inf])
async def test_what_is_done_in_time(at: float | None) -> None:
    """The stream is left alone, also when the time comes."""
    backend = current_backend()
    async with streamed() as (stream, far):
        with backend.deadline(soon(backend) if at is None else at, stream) as deadline:
            far.sendall(b"x")
            assert await stream.read(10) == b"x"
        assert not deadline.expired
        await anyio.sleep(2 * SOON)
        assert not deadline.expired
        far.sendall(b"y")
        assert await stream.read(10) == b"y"


async def test_what_came_while_the_program_blocked_the_loop() -> None:
    """It was there in time, and the program looks only now."""
    backend = current_backend()

    def block() -> None:
        far.sendall(b"x")
        time.sleep(2 * SOON)

    async with streamed() as (stream, far):
        with backend.deadline(soon(backend), stream) as deadline:
            for _ in range(3):
                deadline.at = soon(backend)
                by_callback(block)
                assert await stream.read(10) == b"x"
                assert backend.time() > deadline.at
        assert not deadline.expired
        far.sendall(b"y")
        assert await stream.read(10) == b"y"


async def test_an_error_of_the_body() -> None:
    backend = current_backend()
    error = KeyError("x")
    async with streamed() as (stream, _):
        with pytest.raises(KeyError) as caught, backend.deadline(soon(backend), stream):
            raise error
        assert caught.value is error


async def test_a_loss_before_the_time() -> None:
    backend = current_backend()
    async with streamed() as (stream, _far):
        deadline = backend.deadline(backend.time() + 60, stream)
        by_callback(stream.drop)
        with pytest.raises(ConnectionLostError), deadline:
            await stream.read(10)
        assert not deadline.expired


@pytest.mark.parametrize("later", [60, math.inf])
async def test_put_off(later: float) -> None:
    """And then brought forward again."""
    backend = current_backend()
    data = b""
    async with streamed() as (stream, far):
        with backend.deadline(soon(backend), stream) as deadline:
            deadline.at = backend.time() + later
            timer = threading.Timer(3 * SOON, far.sendall, [b"x"])
            timer.start()
            data = await stream.read(10)
            timer.join()
            assert deadline.at >= backend.time() + 50
            deadline.at = soon(backend)
            await stream.read(10)
        assert deadline.expired
        assert data == b"x"


async def test_put_off_a_little_again_and_again() -> None:
    """A timer that waits anew waits until the newest time."""
    backend = current_backend()
    async with streamed() as (stream, _far):
        began = backend.time()
        with backend.deadline(began + SOON, stream) as deadline:
            for times in (2, 4, 3):
                deadline.at = began + times * SOON
            await stream.read(10)
        assert deadline.expired
        # The timers of uvloop are whole milliseconds.
        assert backend.time() >= began + 3 * SOON - 0.002


@pytest.mark.parametrize("before", [60, math.inf])
async def test_brought_forward(before: float) -> None:
    backend = current_backend()
    async with streamed() as (stream, _):
        with backend.deadline(backend.time() + before, stream) as deadline:
            deadline.at = soon(backend)
            with anyio.fail_after(30):
                await stream.read(10)
        assert deadline.expired


async def test_brought_forward_by_another_task() -> None:
    backend = current_backend()
    async with streamed() as (stream, _):
        with backend.deadline(math.inf, stream) as deadline:
            by_callback(lambda: setattr(deadline, "at", backend.time()))
            await stream.read(10)
        assert deadline.expired


async def test_a_cancellation_before_the_time() -> None:
    backend = current_backend()
    async with streamed() as (stream, _):
        with anyio.CancelScope() as outer:
            with backend.deadline(backend.time() + 60, stream) as deadline:
                by_callback(outer.cancel)
                await stream.read(10)
            raise AssertionError("the cancellation was hidden")
        assert outer.cancelled_caught and not deadline.expired


class Several:
    """Drops them all, one after another."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = steps

    def drop(self) -> None:
        for step in self._steps:
            step()


async def test_a_cancellation_at_the_same_time() -> None:
    """The deadline is seen, and so is the cancellation."""
    backend = current_backend()
    async with streamed() as (stream, _):
        with anyio.CancelScope() as outer:
            with backend.deadline(soon(backend), Several(outer.cancel, stream.drop)):
                await stream.read(10)
            await anyio.lowlevel.checkpoint()
            raise AssertionError("the cancellation was hidden")
        assert outer.cancelled_caught


async def test_one_deadline_of_anyio_and_ours() -> None:
    backend = current_backend()
    async with streamed() as (stream, _):
        at = soon(backend)
        with anyio.CancelScope(deadline=at) as outer:
            with backend.deadline(at, stream):
                await stream.read(10)
            await anyio.sleep(30)  # the timer of AnyIO may be a millisecond behind ours
            raise AssertionError("the cancellation was hidden")
        assert outer.cancelled_caught


@pytest.mark.parametrize("is_first", [True, False])
async def test_asyncios_own_cancellation_at_the_same_time(is_first: bool) -> None:
    """It comes once only: hidden, it would be lost."""
    if sniffio.current_async_library() != "asyncio":
        pytest.skip("Trio has no such thing")
    backend = current_backend()
    async with streamed() as (stream, _):

        async def wait() -> None:
            task = asyncio.current_task()
            assert task is not None
            steps: list[Callable[[], object]] = [task.cancel, stream.drop]
            if not is_first:
                steps.reverse()
            with backend.deadline(soon(backend), Several(*steps)):
                await stream.read(10)

        task = asyncio.create_task(wait())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


async def test_several_at_once() -> None:
    """Each ends at its own time, in whatever order they began; nobody else is disturbed."""
    backend = current_backend()
    expired: set[int] = set()
    over = anyio.Event()

    async def wait(times: int) -> None:
        async with streamed() as (stream, _):
            with backend.deadline(backend.time() + times * SOON, stream) as deadline:
                await stream.read(10)
            assert deadline.expired
            assert backend.time() >= deadline.at
            expired.add(times)

    async def done_in_time() -> None:
        async with streamed() as (stream, far):
            with backend.deadline(backend.time() + 4 * SOON, stream) as deadline:
                pass
            await over.wait()
            assert not deadline.expired and backend.time() >= deadline.at
            far.sendall(b"x")
            assert await stream.read(10) == b"x"

    async def never() -> None:
        async with streamed() as (stream, far):
            with backend.deadline(math.inf, stream) as deadline:
                await over.wait()
                far.sendall(b"x")
                assert await stream.read(10) == b"x"
            assert not deadline.expired

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(done_in_time)
            tasks.start_soon(never)
            async with anyio.create_task_group() as waiting:
                for times in (6, 1, 3):
                    waiting.start_soon(wait, times)
            over.set()
    assert expired == {1, 3, 6}


class Counting:
    """Notes the timers of an alarm."""

    def __init__(self, call_at: Any) -> None:
        self.timers: list[Any] = []
        self.ended: list[Any] = []
        self._call_at = call_at

    def __call__(self, at: float, function: Callable[[], None]) -> Counting:
        self.timers.append(self._call_at(at, function))
        return self

    def cancel(self) -> None:
        self.ended.append(self.timers[-1])
        self.timers[-1].cancel()


async def test_many_share_one_timer(has_timers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_timers:
        pytest.skip("each has its scope")
    backend: Any = current_backend()
    backend.deadline(math.inf, Several())
    counting = Counting(backend._alarm._call_at)
    monkeypatch.setattr(backend._alarm, "_call_at", counting)
    with ExitStack() as stack:
        for number in range(100):
            stack.enter_context(backend.deadline(backend.time() + 60 + number, Several()))
        assert len(counting.timers) == 1
        stack.close()
        assert len(counting.ended) == 1, "none is left when nobody waits"
        with backend.deadline(backend.time() + 60, Several()):
            assert len(counting.timers) == 2 and len(counting.ended) == 1


async def test_what_the_end_of_one_does_to_others_of_the_same_time(
    has_timers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It leaves one, puts one off and begins one; then its stream raises."""
    if not has_timers:
        pytest.skip("cancel scopes are each for themselves")
    backend = current_backend()
    dropped: list[str] = []
    raised: list[Any] = []
    over = anyio.Event()

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def drop(self) -> None:
            dropped.append(self.name)
            if self.name == "first":
                left.__exit__(None, None, None)
                put_off.at = at + 60
                stack.enter_context(backend.deadline(at + SOON, Named("begun")))
                raise KeyError("first")
            if self.name == "begun":
                over.set()

    with ExitStack() as stack, anyio.fail_after(10):
        if not in_trio():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: raised.append(context.get("exception")))
            stack.callback(loop.set_exception_handler, None)
        at = soon(backend)
        names = ("first", "left", "put off", "last")
        first, left, put_off, last = [backend.deadline(at, Named(name)) for name in names]
        for deadline in (first, left, put_off, last):
            stack.enter_context(deadline)
        await over.wait()
    assert dropped == ["first", "last", "begun"]
    assert (first.expired, left.expired, put_off.expired, last.expired) == (
        True,
        False,
        False,
        True,
    )
    raised += [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(error) for error in raised] == [KeyError]
