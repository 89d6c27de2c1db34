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

import anyio

from .._io.internals import is_trio_waiting_for_idle

__all__ = [
    "DeadlockError",
    "VirtualTimeLoop",
    "is_time_virtual",
    "run_virtual",
    "virtual_backend",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_REASON = (
    "has to be waited for in real time, and time is virtual here: keep to what happens in memory, "
    "or run without virtual time"
)


class DeadlockError(RuntimeError):
    """Under virtual time, everything waits and no deadline is left that could change that."""

    def __init__(self) -> None:
        super().__init__(
            "every task waits, nothing is ready and there is no deadline: this would wait for "
            "ever. (Threads, sockets and processes do not count: they know nothing of virtual "
            "time.)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (), self.__dict__


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            raise DeadlockError
        self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose time begins at 0 and passes only while everybody waits.

    Use it as a ``loop_factory``. Sockets and executors raise `RuntimeError`; a program that would
    wait for ever raises `DeadlockError`.
    """

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

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


def virtual_backend(backend: str) -> tuple[str, dict[str, Any]]:
    """A backend of AnyIO with virtual time, as its pytest plugin takes it.

    Return it from the fixture ``anyio_backend``; make a new one for every run.

    Args:
        backend: ``"asyncio"`` or ``"trio"``.

    Returns:
        The backend and its options.

    Raises:
        ValueError: for another backend.
    """
    if backend == "asyncio":
        return "asyncio", {"loop_factory": VirtualTimeLoop}
    if backend == "trio":
        from trio.testing import MockClock

        return "trio", {"clock": MockClock(autojump_threshold=0)}
    raise ValueError(f"backend is 'asyncio' or 'trio', not {backend!r}")


def run_virtual(
    main: Callable[..., Awaitable[T]],
    *args: Any,
    backend: str = "asyncio",
    options: Mapping[str, Any] | None = None,
) -> T:
    """Run a program in virtual time: an hour of waiting takes no time.

    Args:
        main: An async function.
        args: Its arguments.
        backend: ``"asyncio"`` or ``"trio"``.
        options: More options of the backend, as for `anyio.run`.

    Returns:
        What it returned.

    Raises:
        DeadlockError: when it would have waited for ever.
        ValueError: for another backend.
        Exception: what it raised.
    """
    _, own = virtual_backend(backend)
    own.update(options or {})
    if backend == "asyncio":
        return anyio.run(main, *args, backend="asyncio", backend_options=own)
    detector = _DeadlockDetector()
    own["instruments"] = [*own.get("instruments", ()), detector]
    import trio

    # `anyio.run` passes no options to Trio before AnyIO 4.14.
    return trio.run(_watched, detector, main, args, **own)


async def _watched(
    detector: _DeadlockDetector, main: Callable[..., Awaitable[T]], args: tuple[Any, ...]
) -> T:
    with anyio.CancelScope() as detector.scope:
        return await main(*args)
    raise DeadlockError


class _DeadlockDetector:
    """A Trio instrument that cancels a program when nothing can happen in it any more."""

    def __init__(self) -> None:
        self.scope: anyio.CancelScope | None = None

    def before_io_wait(self, timeout: float) -> None:
        """Trio is about to look for I/O, with nothing left to run."""
        import trio

        statistics = trio.lowlevel.current_statistics()
        if (
            statistics.tasks_runnable == 0
            and is_trio_waiting_for_idle() is False
            and statistics.seconds_to_next_deadline == float("inf")
            and statistics.run_sync_soon_queue_size == 0
            and self.scope is not None
        ):
            self.scope.cancel()
            self.scope = None


def is_time_virtual() -> bool:
    """Whether the program that runs now runs in virtual time."""
    if "trio" in sys.modules:
        import trio
        from trio.testing import MockClock

        try:
            return isinstance(trio.lowlevel.current_clock(), MockClock)
        except RuntimeError:
            pass
    try:
        return isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
    except RuntimeError:
        return False


def refuse_virtual_time(what: str) -> None:
    """Raise where something needs real time.

    Raises:
        RuntimeError: in virtual time.
    """
    if is_time_virtual():
        raise RuntimeError(f"{what} {_REASON}")
