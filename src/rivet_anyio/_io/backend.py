"""What is done on asyncio and Trio directly, because a message's time goes there.

AnyIO does the same for every backend, at some microseconds for each wait and each read.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

from .socket import Droppable

__all__ = [
    "Backend",
    "ByteStream",
    "Deadline",
    "ReusableStream",
    "Waiter",
    "check_loop",
    "current_backend",
    "in_trio",
    "new_waiter",
]


class Waiter(Protocol):
    """An event that one task waits for, once."""

    def set(self) -> None:
        """Let `wait` return, now or when it is called."""
        ...

    def wait(self) -> Awaitable[None]:
        """Return when `set` has been called."""
        ...

    def wait_until(self, at: float) -> Awaitable[None]:
        """Return when `set` has been called, or when the time `at` of `Backend.time` comes."""
        ...


class ByteStream(Protocol):
    """The bytes of one connection; reading and writing raise `ConnectionLostError` when it broke.

    One task may read while another writes, but two tasks may not read, nor two write.

    Attributes:
        writes_now: Whether `write_now` can do anything.
    """

    @property
    def writes_now(self) -> bool: ...

    async def read(self, max_bytes: int) -> bytes:
        """Some bytes; none at the end."""
        ...

    def read_now(self, max_bytes: int) -> bytes | None:
        """Some bytes if they have come already, none at the end, None where `read` would wait.

        Not to be called while a `read` is under way.
        """
        ...

    def is_quiet(self) -> bool:
        """Whether the stream is usable and nothing has come: no byte, no end, no error.

        What belongs to TLS alone, such as a session ticket, does not count. Not to be called
        while a `read` is under way.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Send all of these. A cancelled write leaves the stream unusable."""
        ...

    def write_now(self, data: bytes) -> int:
        """Send what can be sent at once, and return how much that was.

        None of it where only `write` can, and where the stream broke: `write` raises what broke
        it. When some of it was sent, the rest must be the next that is written. Not to be called
        while a `write` is under way.
        """
        ...

    def unsent(self) -> int:
        """Bytes that were written and that the peer's system has not confirmed.

        Zero where that is not known.
        """
        ...

    def drop(self) -> None:
        """Close at once, in any state, from any task or callback of the event loop.

        A read or write that waits raises `ConnectionLostError`, as all later ones do.
        """
        ...

    async def aclose(self) -> None:
        """As `drop`; TLS ends its side properly first. Cancellation: does not stop it."""
        ...


class ReusableStream(ByteStream, Protocol):
    """A `ByteStream` that may carry one protocol after another: a tunnel, TLS, HTTP, WebSocket."""

    def unread(self, data: bytes) -> None:
        """Let the next reads give these bytes first."""
        ...


class Deadline(Protocol):
    """A block whose waits on one stream end at a time; see `Backend.deadline`.

    Attributes:
        at: The time, of `Backend.time`. It may be changed inside the block, to any other.
        expired: Whether the stream was dropped because the time came. The block is left then
            without an error, unless something else was raised in it.
    """

    @property
    def at(self) -> float: ...

    @at.setter
    def at(self, at: float) -> None: ...

    @property
    def expired(self) -> bool: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool: ...


class Backend(Protocol):
    """What this library asks of an event loop."""

    def time(self) -> float:
        """As `anyio.current_time`, outside tasks, too."""
        ...

    def runs_here(self) -> bool:
        """Whether this is run by the event loop it was made in: by a task or by a callback."""
        ...

    def waiter(self) -> Waiter:
        """A new one."""
        ...

    async def checkpoint_if_cancelled(self) -> None:
        """As `anyio.lowlevel.checkpoint_if_cancelled`."""
        ...

    def cancellation_check(self) -> Callable[[], Awaitable[None] | None]:
        """A faster `checkpoint_if_cancelled`, for where one task calls it again and again.

        It may return None, and then there is nothing to wait for.
        """
        ...

    def stream(self, sock: socket.socket, data: bytes) -> ReusableStream:
        """The stream of a socket, which it closes at the end; `data` were read from it before.

        Raises `NotImplementedError` where the event loop cannot watch sockets.
        """
        ...

    def deadline(self, at: float, stream: Droppable) -> Deadline:
        """A block that drops the stream and ends when the time `at` of `time` comes.

        Inside the block, wait for nothing but this stream. `math.inf` is never. A cancellation
        from outside the block leaves it as always.
        """
        ...


def in_trio() -> bool:
    """Whether this is run by a task of Trio's."""
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        # Not `in_trio_task`: an asyncio program may have a Trio that is too old to have it.
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def current_backend() -> Backend:
    """That of the event loop which runs here."""
    if in_trio():
        from .trio import TrioBackend

        return TrioBackend()
    from .asyncio import AsyncioBackend

    return AsyncioBackend()


def new_waiter() -> Waiter:
    """As `Backend.waiter`, of the event loop which runs here."""
    if in_trio():
        from .trio import TrioWaiter

        return TrioWaiter()
    from .asyncio import AsyncioWaiter

    return AsyncioWaiter(asyncio.get_running_loop())


def check_loop(backend: Backend, what: str) -> None:
    """Raise `RuntimeError` when this is not run by the event loop of `backend`."""
    if not backend.runs_here():
        raise RuntimeError(
            f"{what} belongs to another event loop or thread: use it only in the event loop where "
            "'async with' entered it, while that runs. Make a Client for each event loop; other "
            "threads, and cells of a notebook without 'await', call into it by a portal of "
            "anyio.from_thread"
        )
