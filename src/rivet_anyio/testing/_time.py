"""Virtual time: clocks that jump to the next deadline whenever nothing else is left to do.

It works because everything a test does happens inside the event loop. What happens outside, on
sockets, in threads and in processes, would have to be waited for in real time, so it is refused
where it can be noticed.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, NoReturn, TypeVar, TypeVarTuple
from weakref import WeakSet

import anyio

from .._checks import awaitable_from, check_choice, check_function, check_seconds
from ._idle import next_moment
from ._internals import asyncio_timers, trio_clock, trio_tasks, trio_timers
from ._stuck import asyncio_tasks, describe, end_asyncio, end_trio

__tracebackhide__ = True  # pytest shows the test in place of our source

__all__ = [
    "DeadlockError",
    "VirtualTimeLoop",
    "is_time_virtual",
    "refuse_event_loop",
    "run_virtual",
    "virtual_options",
    "watch_clock",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_ATTEMPTS = 5
"""How often a program that is ended may wait for ever once more before its event loop fails."""

_REASON = (
    "has to be waited for in real time, and time is virtual here: keep to what happens in memory, "
    "or run without virtual time"
)


class DeadlockError(RuntimeError):
    """Under virtual time, everything waits and no deadline is left that could change that.

    The message lists every task of the program with what it waits for and where. Keepalive of
    connections is no progress.
    """

    def __init__(self, waiting: str = "") -> None:
        super().__init__(
            "every task waits, nothing is ready and there is no deadline: this would wait for "
            "ever. (Threads, sockets and processes do not count: they know nothing of virtual "
            f"time.)\n{waiting}".rstrip()
        )
        self._waiting = waiting

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._waiting,), self.__dict__


class _Guard:
    """Ends a program in which nothing can happen any more, or whose time is up.

    Attributes:
        scope: Around the program, where `run_virtual` runs it.
        limit: The time at which it is to have ended.
        error: What has been raised in it.
    """

    def __init__(self) -> None:
        self.scope: anyio.CancelScope | None = None
        self.limit = math.inf
        self.error: Exception | None = None
        self._attempts = 0

    def reaches(self, target: float | None) -> float | None:
        """Where the clock may go, if anywhere."""
        if target is None:
            return None
        self._attempts = 0
        return min(target, self.limit)

    def end(
        self,
        now: float,
        waiting: str,
        raise_in: Callable[[BaseException, bool], bool],
    ) -> bool:
        """End the program; whoever cleans up and waits again hears of it, too.

        Args:
            now: The time.
            waiting: Who waits for what.
            raise_in: Raises an error in the task that matters, or in every task.

        Returns:
            Whether somebody will hear of it.
        """
        error: Exception
        if now >= self.limit:
            self.limit = math.inf
            error = TimeoutError(f"not at an end after {now:g} s of virtual time:\n{waiting}")
        else:
            error = DeadlockError(waiting)
        self._attempts += 1
        if self.scope is not None and self.error is None:
            self.error = error
            self.scope.cancel()
            return True
        if self._attempts > _ATTEMPTS:
            raise error
        return raise_in(error, self._attempts > 1)

    async def watched(self, main: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
        """Run a program."""
        try:
            with anyio.CancelScope() as self.scope:
                return await awaitable_from("main", main(*args))
        except BaseException as exc:
            if self.error is None:
                raise
            raise self.error from exc
        assert self.error is not None
        raise self.error


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.guard = _Guard()
        self.loop: Any = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        target = self.guard.reaches(next_moment(asyncio_timers(self.loop, timeout)))
        if target is not None and target > self.now:
            self.now = target
        if target is None or self.now >= self.guard.limit:
            waiting = describe(asyncio_tasks(self.loop))
            if not self.guard.end(self.now, waiting, self._raise_in):
                raise DeadlockError(waiting)
        return events

    def _raise_in(self, error: BaseException, everybody: bool) -> bool:
        return end_asyncio(self.loop, error, everybody=everybody)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose time begins at 0 and passes only while everybody waits.

    Use it as a ``loop_factory``. Sockets and executors raise `RuntimeError`; a program that would
    wait for ever raises `DeadlockError`.
    """

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._virtual.loop = self

    def time(self) -> float:
        """Seconds since the loop was made, in its own time."""
        return self._virtual.now

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As every loop's; what is due at infinity is no deadline that time could move on to."""
        if when == math.inf:
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Not here: raises `RuntimeError`."""
        raise RuntimeError(f"a thread {_REASON}")

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Not here: raises `RuntimeError`."""
        raise RuntimeError(f"a socket {_REASON}")

    async def create_connection(self, *args: Any, **options: Any) -> NoReturn:
        """Not here: raises `RuntimeError`."""
        raise RuntimeError(f"a socket {_REASON}")

    async def create_server(self, *args: Any, **options: Any) -> NoReturn:
        """Not here: raises `RuntimeError`."""
        raise RuntimeError(f"a socket {_REASON}")


def virtual_options(backend: str) -> dict[str, Any]:
    """The options of a backend with virtual time, new for every run.

    Raises:
        TypeError, ValueError: for another backend than ``"asyncio"`` and ``"trio"``.
    """
    check_choice("backend", backend, ("asyncio", "trio"))
    if backend == "asyncio":
        return {"loop_factory": VirtualTimeLoop}
    return {"clock": _trio_clock(_Guard())}


def watch_clock() -> None:
    """Let a clock of Trio that jumps by itself, pytest-trio's say, end what waits for ever, too."""
    clock = _mock_clock()
    if clock is not None and clock.autojump_threshold == 0 and clock not in _watched:
        _trio_clock(_Guard(), clock)


_watched: WeakSet[Any] = WeakSet()
"""The clocks of Trio with the habit of `_trio_clock`."""


def _trio_clock(guard: _Guard, clock: Any = None) -> Any:
    """A clock of Trio with the same habit as the event loop here."""

    def move(clock: Any, runner: Any) -> None:
        now = clock.current_time()
        target = guard.reaches(next_moment(trio_timers(runner)))
        if target is not None and target > now:
            clock.jump(target - now)
        if target is None or clock.current_time() >= guard.limit:
            tasks = [(f"task {task.name!r}", task.coro) for task in trio_tasks(runner)]
            guard.end(
                clock.current_time(),
                describe(tasks),
                lambda error, everybody: end_trio(runner, error, everybody=everybody),
            )

    clock = trio_clock(move, clock)
    _watched.add(clock)
    return clock


def run_virtual(
    main: Callable[..., Awaitable[T]],
    *args: Any,
    backend: str = "asyncio",
    options: Mapping[str, Any] | None = None,
    limit: float | None = None,
) -> T:
    """Run a program in virtual time: an hour of waiting takes no time.

    Args:
        main: An async function.
        args: Its arguments.
        backend: ``"asyncio"`` or ``"trio"``.
        options: More options of the backend, as for `anyio.run`.
        limit: Seconds of virtual time within which it must end; None: no limit.

    Returns:
        What it returned.

    Raises:
        DeadlockError: when it would have waited for ever.
        TimeoutError: when it had not ended within `limit`; the message says who waits for what.
        ValueError: for another backend.
        RuntimeError: in an async function: this runs an event loop of its own.
        Exception: what it raised.
    """
    check_function("main", main, none=False)
    check_seconds("limit", limit, none=True)
    refuse_event_loop()
    guard = _Guard()
    if limit is not None:
        guard.limit = limit
    try:
        return _run_guarded(guard, main, args, backend, options or {})
    except (DeadlockError, TimeoutError) as exc:
        if exc is guard.error:
            exc.__traceback__ = None  # its text says where, and the event loop's frames do not
        raise


def _run_guarded(
    guard: _Guard,
    main: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    backend: str,
    options: Mapping[str, Any],
) -> T:
    own = virtual_options(backend)
    if backend == "asyncio":
        own.update(options)
        factory: Any = own["loop_factory"]
        own["loop_factory"] = lambda: _guarded(factory(), guard)
        return anyio.run(guard.watched, main, args, backend="asyncio", backend_options=own)
    own["clock"] = _trio_clock(guard)
    own.update(options)
    import trio

    # `anyio.run` passes no options to Trio before AnyIO 4.14.
    return trio.run(guard.watched, main, args, **own)


def _guarded(loop: asyncio.AbstractEventLoop, guard: _Guard) -> asyncio.AbstractEventLoop:
    if isinstance(loop, VirtualTimeLoop):
        loop._virtual.guard = guard
    return loop


def refuse_event_loop() -> None:
    """Raise where an event loop runs already.

    Raises:
        RuntimeError: one does.
    """
    try:
        anyio.current_time()
    except Exception:  # which one depends on AnyIO's version
        return
    raise RuntimeError(
        "run_virtual, simulate, explore and the like run an event loop of their own, and one runs "
        "here already: call them from a synchronous test, 'def test_...'"
    )


def is_time_virtual() -> bool:
    """Whether the program that runs now runs in virtual time."""
    if _mock_clock() is not None:
        return True
    try:
        return isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
    except RuntimeError:
        return False


def _mock_clock() -> Any:
    """The clock of Trio that this program runs by, where that is virtual."""
    if "trio" not in sys.modules:
        return None
    import trio
    from trio.testing import MockClock

    try:
        clock = trio.lowlevel.current_clock()
    except RuntimeError:
        return None
    return clock if isinstance(clock, MockClock) else None


def refuse_virtual_time(what: str) -> None:
    """Raise where something needs real time.

    Raises:
        RuntimeError: in virtual time.
    """
    if is_time_virtual():
        raise RuntimeError(f"{what} {_REASON}")
